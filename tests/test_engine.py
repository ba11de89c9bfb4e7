"Whoever computes the frozen part, features are the same, and the run says who it was."
import numpy as np
import pytest
from skin_nb.batches import Views
from skin_nb.engine import Engine
from skin_nb.pictures import decode_images
from skin_nb.prefix import cache_features, image_source
from skin_nb.preparation import split_by_lesion
from skin_nb.readers import read_any
from skin_nb.recipe import Cache, Head, Recipe, Stage
from skin_nb.sample import sample_folder
from skin_nb.training import fit_recipe

RECIPE = Recipe("engines", "SampleNet", 128, (Stage(2, 1e-3),), head=Head(normalise=True),
                views=Views(2), cache=Cache(dtype="float32"))


@pytest.fixture(scope="module")
def sample():
    table = split_by_lesion(read_any(sample_folder()), 0)
    return table, decode_images(table, 128)


def train(sample, out, engine, recipe=RECIPE):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKIN_NB_ENGINE", engine)
        return fit_recipe(recipe, *sample, out, folder=out / "features", verbose=0)


@pytest.fixture(scope="module")
def exact(sample, tmp_path_factory):
    return train(sample, tmp_path_factory.mktemp("exact"), "keras")


def test_training_on_either_engine_comes_to_the_same(sample, exact, tmp_path):
    pytest.importorskip("openvino")
    other = train(sample, tmp_path, "openvino")
    assert [exact.engine, other.engine] == ["keras float32", "openvino float32"]
    apart = np.abs(exact.probabilities - other.probabilities).max()
    assert 0 < apart < 1e-3  # features differ by 1e-6, and training carries it on


def test_bfloat16_is_close_and_recorded(sample, exact, tmp_path):
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("a processor without products in bfloat16")
    short = Recipe(**{**vars(RECIPE), "cache": Cache(precision="bfloat16")})
    fit = train(sample, tmp_path, "", short)
    assert fit.engine == "openvino bfloat16"
    agree = (fit.probabilities.argmax(1) == exact.probabilities.argmax(1)).mean()
    assert agree > .9


def test_features_of_engines_do_not_mix(sample, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    import keras
    image = keras.Input((128, 128, 3))
    net = keras.Model(image, keras.layers.Conv2D(2, 3, 4)(image))
    rows = np.arange(6)
    for engine, files in (("keras", 1), ("openvino", 2), ("keras", 2)):
        monkeypatch.setenv("SKIN_NB_ENGINE", engine)
        cache_features(net, image_source(sample[1]), rows, folder=tmp_path, verbose=False)
        found = [f for f in tmp_path.glob("*.npy") if ".crc" not in f.name]
        assert len(found) == files


def test_without_openvino_a_run_goes_on_and_says_so(sample, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delenv("SKIN_NB_ENGINE", raising=False)
    short = Recipe(**{**vars(RECIPE), "cache": Cache(precision="bfloat16")})
    fit = fit_recipe(short, *sample, tmp_path, folder=tmp_path / "features", verbose=0)
    assert fit.engine == str(Engine())
    said = capsys.readouterr().out
    assert "by Keras in float32" in said and "pip install" in said


def test_quick_products_train_nearly_as_exact_ones(sample, tmp_path):
    top = Stage(1, 1e-3, unfreeze=.3)
    exact, quick = (Recipe(**{**vars(RECIPE), "stages": (top,), "precision": precision})
                    for precision in ("float32", "pointwise_bfloat16"))
    a = train(sample, tmp_path / "exact", "keras", exact)
    b = train(sample, tmp_path / "quick", "keras", quick)
    assert {str(w.dtype) for w in b.model.weights} == {"float32"}
    difference = np.abs(a.probabilities - b.probabilities).mean()
    assert 0 < difference < .05
