"""A transformer is a backbone like any other: cut between blocks, cached, saved, looked at by
Grad-CAM. (TensorFlow = JAX: test_gradcam.)"""
import warnings
from dataclasses import replace
from functools import partial
import numpy as np
import pytest
from skin_nb.core import DataError, Profile
from skin_nb.recipe import Cache, Head, Recipe, Rows, Stage, cap_recipe
from train_script import toy

SIDE = 56
FROZEN = Recipe(
    "frozen",
    "SmallTransformer",
    SIDE,
    (Stage(2, 1e-3),),
    head=Head(normalise=True),
    cache=Cache(dtype="float32"),
    rows=Rows(batch=16),
)
# Adam makes steps out of rounding, too: a low rate keeps them small
TUNED = replace(FROZEN, name="tuned", stages=(Stage(2, 1e-4, unfreeze="block_2"),))


@pytest.fixture(scope="module", autouse=True)
def small_transformer():
    "DINOv2 with three narrow blocks in place of twelve wide ones."
    from skin_nb import backbones, dinov2
    shape = dinov2.Transformer(width=32, blocks=3, heads=2)
    def build(x, weights=None):
        return dinov2.vision_transformer(shape, x)
    entry = replace(
        backbones.get_backbone("DINOv2_ViTS14"),
        name="SmallTransformer",
        build=build,
        read=partial(dinov2.load_dinov2, shape),
    )
    yield backbones.register_backbone(entry)
    del backbones.BACKBONES["SmallTransformer"]

@pytest.fixture(scope="module")
def data():
    return toy(size=SIDE)

@pytest.fixture(scope="module")
def fits(data, tmp_path_factory):
    "The tuned recipe, with and without a cache."
    from skin_nb.training import fit_recipe
    folder = tmp_path_factory.mktemp("fits")
    return [
        fit_recipe(
            TUNED, *data, folder / str(cached), cached=cached, folder=folder / "cache", verbose=0
        )
        for cached in (True, False)
    ]

def test_is_cut_between_blocks(fits):
    from skin_nb.graph import list_cuts
    cuts = list_cuts(fits[0].model).set_index("layer")
    assert {"block_1", "block_2", "block_3", "pool"} <= set(cuts.index) and not [
        name for name in cuts.index if "middle" in name and "norm" in name
    ]
    assert cuts.loc["block_2", "shape"] == (1 + 16, 32)
    assert fits[0].cuts[0].layer == "block_2" and fits[0].cuts[0].useful

def test_cached_equals_uncached(fits):
    cached, uncached = fits
    np.testing.assert_allclose(
        cached.history[["loss", "val_loss"]], uncached.history[["loss", "val_loss"]], atol=1e-4
    )
    np.testing.assert_allclose(cached.probabilities, uncached.probabilities, atol=1e-3)
    assert np.ptp(cached.history.loss) > .01  # and something was learned

def test_only_what_is_above_the_cut_moves(fits, data):
    from skin_nb.models import build_model
    from skin_nb.tasks import HAM10000
    fresh = build_model(TUNED, HAM10000)[0]
    moved = {
        layer.name
        for layer in fresh.layers
        if layer.weights
        and any(
            np.abs(a - b).max() > 0
            for a, b in zip(layer.get_weights(), fits[0].model.get_layer(layer.name).get_weights())
        )
    }
    assert {"block_3_attention", "block_3_dense_2", "last_norm", "logits"} <= moved
    assert not [
        name for name in moved if name.startswith(("block_1", "block_2", "positions", "patches"))
    ]

def test_saved_equals_loaded(fits, data, tmp_path):
    from skin_nb.model_loading import load_model
    from skin_nb.training import predict_images, save_model
    path = save_model(fits[0], tmp_path / "model.keras")
    model, info = load_model(path)
    rows = fits[0].rows
    np.testing.assert_allclose(
        predict_images(model, data[1], rows),
        predict_images(fits[0].model, data[1], rows),
        atol=1e-6,
    )
    assert info["recipe"]["backbone"] == "SmallTransformer"

def test_heads_get_the_class_token_and_the_mean_of_the_patches(data):
    "Both kinds of heads: those of recipes and those without Keras."
    import keras
    from skin_nb.heads import frozen_network
    images = data[1][:4]
    network = frozen_network(images, "SmallTransformer")
    tokens = keras.Model(network.input, network.get_layer("last_norm").output).predict(
        images, verbose=0
    )
    expected = np.concatenate([tokens[:, 0], tokens[:, 1:].mean(1)], 1)
    np.testing.assert_allclose(network.predict(images, verbose=0), expected, atol=1e-5)

def test_grad_cam_looks_at_patches(fits, data):
    from skin_nb.gradcam import cam_layer, grad_cam, make_cam
    model = fits[0].model
    layer = cam_layer(model, "SmallTransformer")
    assert layer == "patches" and make_cam(model, layer).prefix.outputs[0].shape[1:] == (4, 4, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for some classes nothing speaks
        maps = np.array([grad_cam(model, data[1][:6], layer, classes=c) for c in range(7)])
    assert maps.shape == (7, 6, SIDE, SIDE) and maps.max() == 1 and np.ptp(maps, axis=0).max() > .5

def test_sizes_are_multiples_of_a_patch():
    from skin_nb.backbones import build_backbone
    capped, note = cap_recipe(replace(FROZEN, size=224), Profile("small", size=64))
    assert capped.size == 56 and "56 px" in note
    assert cap_recipe(replace(FROZEN, size=224), Profile("tiny", size=5))[0].size == 28
    with pytest.raises(DataError, match="multiple of 14 px.*Use 224 px"):
        build_backbone("SmallTransformer", 225)

@pytest.mark.parametrize("name", ["dinov2_vits14.safetensors", "dinov2_vits14.npz"])
def test_a_file_of_something_else_is_refused(name, tmp_path):
    from skin_nb.backbones import build_backbone, find_weights
    file = tmp_path / name
    if name.endswith("npz"):
        np.savez(file, kernel=np.zeros((3, 3)))
    else:
        file.write_bytes((2**62).to_bytes(8, "little") + b'{"a":')
    with pytest.raises(DataError, match=f"{name}: found weights that don't fit"):
        build_backbone("DINOv2_ViTS14", 28, find_weights("DINOv2_ViTS14", tmp_path))

def test_without_a_file_the_fix_names_it(tmp_path):
    from skin_nb.backbones import build_backbone, find_weights

    with pytest.raises(DataError, match="dinov2_vits14.safetensors"):
        find_weights("DINOv2_ViTS14", tmp_path)
    with pytest.raises(DataError, match="huggingface.co/facebook/dinov2-small"):
        build_backbone("DINOv2_ViTS14", 28, find_weights("DINOv2_ViTS14", "imagenet"))
