"Networks of KerasHub as backbones, from presets on this disk."
import numpy as np
import pytest

hub = pytest.importorskip("keras_hub", reason="the extra hub isn't installed")
pytestmark = pytest.mark.slow  # KerasHub's import alone takes longer than most tests

SHAPES = {
    "ResNet": dict(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_strides=[1, 2],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        block_type="basic_block",
        image_shape=(64, 64, 3),
    ),
    "DINOV2": dict(
        image_shape=(56, 56, 3),
        patch_size=14,
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
    ),
}


@pytest.fixture(params=SHAPES)
def preset(request, tmp_path):
    "A small network of KerasHub with its weights, and the folder that holds it as a preset."
    shape = SHAPES[request.param]
    net = getattr(hub.models, f"{request.param}Backbone")(**shape)
    net.save_to_preset(str(tmp_path / request.param))
    return net, str(tmp_path / request.param), shape["image_shape"][0]


@pytest.fixture
def registered():
    "The registry, cleared of what a test adds."
    from skin_nb.backbones import BACKBONES
    before = dict(BACKBONES)
    yield BACKBONES
    BACKBONES.clear()
    BACKBONES.update(before)


def test_a_preset_is_a_backbone_with_its_weights(preset, registered):
    from skin_nb.backbones import Weights, build_backbone, register_backbone
    from skin_nb.graph import list_cuts
    from skin_nb.other_networks import hub_entry
    net, folder, side = preset
    register_backbone(hub_entry("Hub", folder, side, "0..255"))
    built = build_backbone("Hub", side, Weights("imagenet"))
    pictures = np.random.default_rng(0).uniform(-2, 2, (2, side, side, 3)).astype("float32")
    features = built.predict(pictures, verbose=0)
    expected = net.predict(pictures, verbose=0)
    if expected.ndim == 3:  # a class token and 4 × 4 patches
        by_hand = np.concatenate([expected[:, :1].repeat(16, 1), expected[:, 1:]], axis=-1)
        expected = by_hand.reshape(2, 4, 4, -1)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert len(list_cuts(built)) > 2


def test_a_network_that_could_not_be_loaded_again_is_refused(registered):
    from skin_nb.backbones import build_backbone, register_backbone
    from skin_nb.core import DataError
    from skin_nb.other_networks import network_entry

    def make(side, weights):
        return hub.models.ViTBackbone(image_shape=(side, side, 3), patch_size=14, num_layers=1,
                                      num_heads=2, hidden_dim=32, mlp_dim=64)

    register_backbone(network_entry("Hub", 56, "0..1", make))
    with pytest.raises(DataError, match="vit_patching_and_embedding"):
        build_backbone("Hub")


def test_an_unknown_preset_is_named(registered):
    from skin_nb.backbones import build_backbone, register_backbone
    from skin_nb.core import DataError
    from skin_nb.other_networks import hub_entry
    register_backbone(hub_entry("Hub", "no_such_preset", 64, "0..1"))
    with pytest.raises(DataError, match="no_such_preset"):
        build_backbone("Hub")
