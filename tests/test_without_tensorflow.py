"Everything that is run on JAX runs where TensorFlow isn't installed."
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
import pytest
from skin_nb.core import DataError
from skin_nb.siim import read_tfrecords

HERE = Path(__file__).parent
needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")


def alone(folder, *command):
    "What a command says on JAX, in a Python that finds no TensorFlow."
    path = os.pathsep.join([str(HERE / "no_tensorflow"), str(HERE)])
    env = dict(os.environ, PYTHONPATH=path, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu",
               TQDM_DISABLE="1", SKIN_NB_CACHE=str(folder / "cache"))
    done = subprocess.run(list(map(str, command)), cwd=HERE.parent, env=env, text=True,
                          capture_output=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_tensorflow_is_hidden(tmp_path):
    program = "import importlib.util as u; print(u.find_spec('tensorflow'), u.find_spec('numpy'))"
    said = alone(tmp_path, sys.executable, "-c", program)
    assert said.startswith("None ModuleSpec")


def test_tfrecords_without_tensorflow_are_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "train00-1.tfrec").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(DataError, match="pip install tensorflow"):
        read_tfrecords(tmp_path)


@needs_jax
@pytest.mark.slow
def test_a_network_is_trained_from_scratch(tmp_path):
    "Augmentation, two stages, checkpoints, prediction."
    (tmp_path / "out").mkdir()
    alone(tmp_path, sys.executable, HERE / "train_script.py", "scratch", tmp_path / "out", -1)
    assert (tmp_path / "out/result.npz").is_file()


@needs_jax
@pytest.mark.slow
def test_batch_evaluation_and_prediction(tmp_path):
    "Features of a frozen network, a tuned network, a saved model loaded again, Grad-CAM."
    commands = Path(sys.executable).parent
    run = tmp_path / "run"
    said = alone(tmp_path, commands / "skin_nb_run", "--only", "30a,90", "--out", run)
    assert "FAILED" not in said
    done = json.loads((run / "30a_sample_net/done.json").read_text())
    assert "tensorflow" not in done["versions"] and done["versions"]["backend"] == "jax"
    model = run / "30a_sample_net/honest/model.keras"
    alone(tmp_path, commands / "skin_nb_evaluate", "--model", model, "--data", "sample",
          "--out", tmp_path / "scores")
    assert (tmp_path / "scores/metrics.json").is_file()
    picture = sorted((tmp_path / "cache").rglob("*.jpg"))[0]
    alone(tmp_path, commands / "skin_nb_predict", picture, "--model", model,
          "--gradcam", tmp_path / "maps", "--out", tmp_path / "answers.csv")
    assert list((tmp_path / "maps").iterdir())
