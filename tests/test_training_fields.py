"""What recipes can ask of a training beyond the usual: half precision, accumulated gradients,
attention, fusion, other weights; alone, together, resumed, saved."""
import numpy as np
import pandas as pd
import pytest
from dataclasses import replace
from skin_nb import training
from skin_nb.backbones import find_weights
from skin_nb.balancing import STRATEGIES
from skin_nb.core import DataError
from skin_nb.gradcam import grad_cam
from skin_nb.heads import SoftTargets
from skin_nb.model_loading import load_model
from skin_nb.recipe import Cache, Head, Optimizer, Recipe, Rows, Stage
from skin_nb.tasks import HAM10000, MELANOMA, with_task
from skin_nb.training import fit_recipe, predict_table, prepare, save_model

SCRATCH = Recipe(
    "fields",
    "CustomCNN",
    32,
    (Stage(3, 1e-3, unfreeze="all", cosine=True),),
    scratch=True,
    head=Head(output="sigmoid"),
    rows=Rows(batch=4),
    optimizer=Optimizer(clip=1.),
)
FROZEN = replace(
    SCRATCH, scratch=False, stages=(Stage(3, 1e-3, cosine=True),), cache=Cache(dtype="float32")
)


@pytest.fixture(scope="module")
def small():
    "Forty-two pictures whose melanomas are a little brighter, and their table."
    rng = np.random.default_rng(0)
    dx = np.resize(["mel", "other", "other", "mel", "other"], 42)
    images = (
        rng.integers(0, 120, (42, 32, 32, 3), "uint8")
        + (60 * (dx == "mel")).astype("uint8")[:, None, None, None]
    )
    split = np.resize(["train", "train", "valid", "train", "train", "test"], 42)
    table = pd.DataFrame(
        dict(
            image_id=[f"i{k}" for k in range(42)],
            lesion_id=[f"l{k}" for k in range(42)],
            dx=dx,
            split=split,
            fold=0,
            age=rng.integers(20, 80, 42).astype(float),
            sex=np.resize(["male", "female"], 42),
            localization=np.resize(["back", "face", "trunk"], 42),
        )
    )
    return with_task(table, MELANOMA), images


class _Killed(Exception):
    pass


@pytest.mark.parametrize(
    "base, changes",
    [
        (
            FROZEN,
            dict(
                rows=Rows(batch=4, accumulate=3),
                optimizer=Optimizer(clip=1., ema=.9),
                precision="mixed_float16",
            ),
        ),
        # what differs from the first: no cut and no scaled loss, which test_training.py holds
        pytest.param(
            SCRATCH,
            dict(
                rows=Rows(batch=4, accumulate=4),
                precision="mixed_bfloat16",
                optimizer=Optimizer(ema=.8),
            ),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_killed_run_ends_as_if_nothing_had_happened(base, changes, small, tmp_path, monkeypatch):
    import keras
    recipe = replace(base, **changes)
    whole = fit_recipe(recipe, *small, tmp_path / "whole", folder=tmp_path / "cache", verbose=0)

    def kill(epoch, logs):
        if epoch == 2:
            raise _Killed

    monkeypatch.setattr(
        training,
        "fit_progress",
        lambda verbose: keras.callbacks.LambdaCallback(on_epoch_begin=kill),
    )
    with pytest.raises(_Killed):
        fit_recipe(recipe, *small, tmp_path / "killed", folder=tmp_path / "cache", verbose=0)
    monkeypatch.undo()
    resumed = fit_recipe(recipe, *small, tmp_path / "killed", folder=tmp_path / "cache", verbose=0)
    assert np.array_equal(whole.probabilities, resumed.probabilities)
    assert (
        np.array_equal(whole.history.val_auc, resumed.history.val_auc) and len(whole.history) == 3
    )
    assert np.isfinite(whole.probabilities).all()


@pytest.mark.filterwarnings("ignore:.*maps are empty")
@pytest.mark.parametrize(
    "head",
    [
        Head(pool="attention", metadata=4, fusion="film", output="sigmoid", prior=True),
        Head(metadata=4, fusion="late", dense=(8,), prior=True),
    ],
)
def test_a_saved_model_keeps_working(head, small, tmp_path):
    table, images = small
    recipe = replace(
        SCRATCH,
        head=head,
        stages=(Stage(1, 1e-3, unfreeze="all"),),
        strategy=STRATEGIES["positive weight"],
    )
    fit = fit_recipe(recipe, table, images, tmp_path, verbose=0)
    loaded = load_model(save_model(fit, tmp_path / "model.keras"))
    assert np.allclose(
        predict_table("model.keras", loaded, table, images)[fit.rows], fit.probabilities, atol=1e-5
    )
    unknown = table.assign(age=np.nan, sex=None, localization=None)
    assert np.isfinite(predict_table("model.keras", loaded, unknown, images)).all()
    metadata = training.encode_metadata(fit.encoder, table.iloc[:2])
    maps = grad_cam(loaded[0], images[:2], metadata=metadata)
    assert maps.shape[0] == 2 and np.isfinite(maps).all()


def test_the_published_weight_keeps_its_scale(small, tmp_path):
    table, images = small
    recipe = replace(SCRATCH, strategy=STRATEGIES["positive weight"])
    prepared = prepare(recipe, table, images)
    batches, _ = training._training_batches(prepared, training.select_part(prepared, 0))
    negative, positive = np.bincount(prepared.y[prepared.train])
    assert sorted(set(batches.weights[prepared.train])) == [1, np.float32(negative / positive)]
    seven = with_task(table.assign(dx=np.resize(HAM10000.classes, len(table))), HAM10000)
    asked = replace(recipe, head=Head())
    with pytest.raises(DataError, match="positive weight"):
        fit_recipe(asked, seven, images, tmp_path, verbose=0)


def test_new_fields_leave_cached_features_where_they_are(small, tmp_path):
    "Another head, another optimizer, accumulation: the same files."
    fit_recipe(FROZEN, *small, tmp_path / "a", folder=tmp_path / "cache", verbose=0)
    files = sorted((tmp_path / "cache").iterdir())
    other = replace(
        FROZEN,
        rows=Rows(batch=8, accumulate=2),
        optimizer=Optimizer(ema=.5),
        head=Head(prior=True),
    )
    fit_recipe(other, *small, tmp_path / "b", folder=tmp_path / "cache", verbose=0)
    assert sorted((tmp_path / "cache").iterdir()) == files


def test_a_start_is_part_of_the_key_and_has_to_fit(small, tmp_path):
    table, images = small
    first = fit_recipe(SCRATCH, table, images, tmp_path / "first", verbose=0)
    larger = images.repeat(2, 1).repeat(2, 2)
    at_64 = replace(SCRATCH, size=64)
    begun = prepare(at_64, table, larger, start=first.model)
    for ours, theirs in zip(begun.model.get_weights(), first.model.get_weights()):
        assert np.array_equal(ours, theirs)
    assert begun.key != prepare(at_64, table, larger).key
    with pytest.raises(DataError, match="same backbone and head"):
        prepare(replace(at_64, head=Head(dense=(3,))), table, larger, start=first.model)


def _moved(before, after):
    "The names of the layers whose weights or statistics differ, in order."
    pairs = zip(before.layers, after.layers)
    return [
        new.name
        for old, new in pairs
        if any((a != b).any() for a, b in zip(old.get_weights(), new.get_weights()))
    ]


def test_batch_norm_trains_where_it_is_asked_to_and_nowhere_below(small, tmp_path):
    table, images = small
    stage = Stage(2, 1e-3, unfreeze="relu_6")
    still = Recipe(
        "norm",
        "SampleNet",
        32,
        (stage,),
        head=Head(output="sigmoid"),
        rows=Rows(batch=4),
        cache=Cache(dtype="float32"),
    )
    free = replace(still, train_norm=True)
    before = prepare(
        still, table, images, find_weights("SampleNet"), folder=tmp_path / "cache"
    ).model
    fits = {
        name: fit_recipe(
            free,
            table,
            images,
            tmp_path / name,
            cached=name == "free",
            folder=tmp_path / "cache",
            verbose=0,
        )
        for name in ("free", "uncached")
    }
    above = ["conv_7", "norm_7", "conv_8", "norm_8", "logits"]
    assert [layer.name for layer in before.layers if layer.trainable_weights] == [
        name for name in above if "norm" not in name
    ]
    assert _moved(before, fits["free"].model) == _moved(before, fits["uncached"].model) == above
    # what lies before the cut is the same in training, so it doesn't matter whether it is computed
    # once (measured: 2e-6)
    assert np.allclose(fits["free"].probabilities, fits["uncached"].probabilities, atol=1e-4)
    fit = fits["free"]
    loaded = load_model(save_model(fit, tmp_path / "model.keras"))
    assert np.allclose(
        predict_table("model.keras", loaded, table, images)[fit.rows], fit.probabilities, atol=1e-5
    )
    valid = fit.probabilities[table.split.to_numpy()[fit.rows] == "valid"]
    truth = (table.dx[table.split == "valid"] == "mel").to_numpy().astype(int)
    loss = -np.log(valid[np.arange(len(truth)), truth]).mean()
    # what was validated is what is saved
    assert loss == pytest.approx(fit.history.val_loss.iloc[-1], abs=1e-4)


def test_a_teacher_has_spoken_of_every_training_row(small, tmp_path):
    table, images = small
    too_few = SoftTargets(np.full((3, 2), .5), .5)
    with pytest.raises(DataError, match=r"shape \(3, 2\).*one row per training row"):
        fit_recipe(SCRATCH, table, images, tmp_path, verbose=0, teacher=too_few)
