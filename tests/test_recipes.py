"""The published protocols to the letter: parameter counts, what moves, heads, rates, batches;
metadata without leaks."""
import dataclasses
import functools
import numpy as np
import pandas as pd
import pytest
from skin_nb.balancing import Strategy
from skin_nb.tasks import HAM10000

@functools.cache
def build(module, size=None, features=17):
    """Model, backbone layer names and recipe of a published protocol; sizes change no parameter
    count behind global pooling."""
    import importlib
    from skin_nb.models import build_model
    recipe = importlib.import_module(f"skin_nb.recipes.{module}").AS_PUBLISHED
    return *build_model(
        dataclasses.replace(recipe, size=size or recipe.size), HAM10000, features=features
    ), recipe

def trainable(model, backbone, unfreeze):
    from skin_nb.models import set_trainable
    set_trainable(model, backbone, unfreeze)
    return {l.name for l in model.layers if l.trainable and l.weights}

def recipe(module, name="AS_PUBLISHED"):
    return getattr(__import__(f"skin_nb.recipes.{module}", fromlist=[name]), name)

def test_resnet50v2_has_the_published_parameters():
    model, backbone, r = build("resnet50v2", 64)
    assert model.count_params() == 24_123_143
    trainable(model, backbone, r.stages[0].unfreeze)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 558_343

def test_multimodal_head_and_metadata_branch():
    model, _, r = build("efficientnet_b1", 64)
    branch, logits = model.get_layer("metadata_dense"), model.get_layer("logits")
    assert (
        branch.units == 32 and branch.activation.__name__ == "relu" and branch.kernel.shape[0] == 17
    )
    assert logits.kernel.shape == (1280 + 32, 7)  # both branches straight into the softmax
    assert not [l for l in model.layers if l.name.startswith("head_")]

def test_multimodal_unfreezes_exactly_the_top_40_layers():
    model, backbone, r = build("efficientnet_b1", 64)
    assert [s.unfreeze for s in r.stages] == [0, 40] and [s.learning_rate for s in r.stages] == [
        1e-3,
        1e-5,
    ]
    moving, norms = (
        trainable(model, backbone, 40) & set(backbone),
        {n for n in backbone[-40:] if "bn" in n},
    )
    # batch norm infers
    assert norms and moving == {n for n in backbone[-40:] if model.get_layer(n).weights} - norms


def test_v2s_unfreezes_exactly_the_top_30_percent():
    model, backbone, r = build("efficientnet_v2s", 64)
    assert len(backbone) == 513 and [s.unfreeze for s in r.stages] == [0, .3]
    top = backbone[int(513 * .7):]
    moving = trainable(model, backbone, .3) & set(backbone)
    assert len(top) == 154 and moving == {
        n for n in top if model.get_layer(n).weights and "bn" not in n
    }
    assert model.get_layer("head_dropout").rate == .3 and model.get_layer(
        "logits"
    ).kernel.shape == (1280, 7)

def test_three_networks_share_one_frozen_protocol():
    inception, dense, convnext = recipe("frozen_networks")
    for other in dense, convnext:
        assert (
            dataclasses.replace(other, name=inception.name, backbone=inception.backbone)
            == inception
        )
    assert (
        [s.unfreeze for s in inception.stages] == [0]
        and inception.stages[0].patience
        and inception.strategy == Strategy("class weights")
        and inception.size == 224
    )
    from skin_nb.models import build_model
    model, backbone = build_model(dataclasses.replace(dense, size=64), HAM10000)
    assert trainable(model, backbone, 0) == {"logits"}

@pytest.mark.parametrize("module, size, batch, dense, dropout, rates, balance", [
    ("custom_cnn", 224, 32, (256,), .5, [1e-4], "repeat"),
    ("efficientnet_b0", 224, 32, (256, 128), .5, [1e-4], "repeat"),
    ("resnet50", 224, 32, (), 0, [1e-5], "all rows"),
    ("resnet50v2", 224, 32, (256, 128), .5, [1e-4], "repeat"),
    ("efficientnet_b1", 384, 16, (), 0, [1e-3, 1e-5], "class weights")])
def test_settings_as_published(module, size, batch, dense, dropout, rates, balance):
    r = recipe(module)
    assert (r.size, r.rows.batch, r.head.dense, r.head.dropout) == (size, batch, dense, dropout)
    assert [s.learning_rate for s in r.stages] == rates and r.strategy == Strategy(balance)
    assert r.protocol == "published" and all(s.epochs == 20 for s in r.stages) == (
        module != "efficientnet_b1"
    )

def test_custom_cnn_has_the_published_layers():
    model, _, _ = build("custom_cnn")
    kinds = [
        (type(l).__name__, getattr(l, "filters", getattr(l, "units", None)))
        for l in model.layers
        if type(l).__name__ in ("Conv2D", "MaxPooling2D", "Flatten", "Dense")
    ]
    assert kinds == [
        ("Conv2D", 32),
        ("MaxPooling2D", None),
        ("Conv2D", 64),
        ("MaxPooling2D", None),
        ("Conv2D", 128),
        ("MaxPooling2D", None),
        ("Flatten", None),
        ("Dense", 256),
        ("Dense", 7),
    ]

def test_resnet50_learns_from_350_images():
    from skin_nb.balancing import limit_rows
    r = recipe("resnet50")
    assert (
        r.scratch
        and r.rows.per_class == 50
        and r.head.pool == "avg"
        and r.stages[0].unfreeze == "all"
        and r.stages[0].plateau == 5
    )
    y = np.repeat(np.arange(7), [261, 412, 878, 92, 890, 5364, 115])
    assert np.bincount(y[limit_rows(y, r.rows.per_class, r.seed)]).tolist() == [50] * 7

ONE_EACH = [
    "custom_cnn",
    "efficientnet_b0",
    "resnet50",
    "resnet50v2",
    "efficientnet_b1",
    "efficientnet_v2s",
    "mobilenet_v2",
    "efficientnet_b4",
    "dinov2_vits14",
]

def adjusts_logits(r):
    return (
        r.protocol == "honest"
        and r.strategy.loss.logit_adjustment == 1
        and r.strategy.sampler == "all rows"
    )

@pytest.mark.parametrize("module", ONE_EACH)
def test_honest_recipes_handle_the_imbalance_in_the_loss(module):
    r = recipe(module, "HONEST")
    assert adjusts_logits(r) and r.name == module

def test_three_honest_recipes_differ_in_the_network_alone():
    assert [r.name for r in recipe("frozen_networks", "HONEST")] == [
        r.name for r in recipe("frozen_networks")
    ]
    assert all(map(adjusts_logits, recipe("frozen_networks", "HONEST")))

@pytest.fixture(scope="module")
def patients():
    rng, n = np.random.default_rng(0), 60
    return pd.DataFrame(
        dict(
            image_id=[f"p{i}" for i in range(n)],
            dx=np.resize(HAM10000.classes, n),
            dx_type="histo",
            age=rng.integers(20, 85, n).astype(float),
            sex=np.resize(["male", "female"], n),
            localization=np.resize(["back", "face", "foot", "trunk"], n),
            split="train",
        )
    )

def test_how_a_diagnosis_was_confirmed_is_no_feature(patients):
    from skin_nb.preparation import encode_metadata, fit_metadata
    encoder = fit_metadata(patients)
    assert not [n for n in encoder.names if "dx" in n or "histo" in n]
    np.testing.assert_array_equal(
        encode_metadata(encoder, patients),
        encode_metadata(encoder, patients.assign(dx_type="follow_up", dx="nv")),
    )

def test_missing_metadata_count_as_mean_and_unknown(patients):
    from skin_nb.preparation import encode_metadata, fit_metadata
    encoder = fit_metadata(patients)
    x = pd.DataFrame(
        encode_metadata(encoder, patients.assign(age=np.nan, sex="unknown", localization=None)),
        columns=encoder.names,
    )
    assert (
        (x.age == 0).all()
        and (x.sex_unknown == 1).all()
        and (x.localization_unknown == 1).all()
        and (x.sum(axis=1) == 2).all()
    )

@pytest.mark.parametrize("backbone", ["CustomCNN", "MobileNetV2"])
def test_metadata_branch_joins_any_backbone(backbone):
    from skin_nb.recipe import Head, honest_recipe
    from skin_nb.models import build_model

    model, _ = build_model(
        honest_recipe("any", backbone, 64, head=Head(metadata=32)), HAM10000, features=17
    )
    p = np.asarray(
        model.predict_on_batch(
            {"image": np.zeros((2, 64, 64, 3), "uint8"), "metadata": np.eye(2, 17, dtype="float32")}
        )
    )
    assert p.shape == (2, 7) and np.abs(p[0] - p[1]).max() > 0

@pytest.mark.parametrize("clip, moves", [(0., True), (1e-15, False)])
def test_gradients_are_clipped(tmp_path, clip, moves):
    """Adam divides by the gradient's size, but not below its epsilon of 1e-7: a gradient clipped
    far below that moves nothing."""
    from skin_nb.pictures import decode_images
    from skin_nb.preparation import split_by_lesion
    from skin_nb.readers import read_any
    from skin_nb.recipe import Optimizer, Recipe, Rows, Stage
    from skin_nb.sample import sample_folder
    from skin_nb.models import build_model
    from skin_nb.training import fit_recipe
    table = split_by_lesion(read_any(sample_folder()))
    r = Recipe("clipped", "CustomCNN", 32, (Stage(1, 1e-3, unfreeze="all"),), scratch=True,
               rows=Rows(per_epoch=64), optimizer=Optimizer(clip=clip))
    fit = fit_recipe(
        r,
        table,
        decode_images(table, 32, folder=tmp_path),
        tmp_path / "fit",
        folder=tmp_path,
        verbose=0,
    )
    before, after = (
        m.get_layer("logits").get_weights()[0] for m in (build_model(r, HAM10000)[0], fit.model)
    )
    assert (np.abs(after - before).max() > 1e-4) == moves and np.abs(after - before).max() < (
        1 if moves else 1e-7
    )
