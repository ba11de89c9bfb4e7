"Training contracts that need processes of their own: resume after a kill, cached = uncached, TensorFlow = JAX."
import os, subprocess, sys
from pathlib import Path
import numpy as np, pandas as pd, pytest

HERE = Path(__file__).parent
BACKENDS = ["tensorflow", "jax"]

def train(kind, out, backend, die_in_epoch=-1, weights=""):
    env = dict(os.environ, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3", TQDM_DISABLE="1")
    Path(out).mkdir(parents=True, exist_ok=True)
    return subprocess.run([sys.executable, str(HERE / "train_script.py"), kind, str(out), str(die_in_epoch), str(weights)], env=env, capture_output=True, text=True)

def result(out): return dict(np.load(Path(out) / "result.npz"))

@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_run_ends_with_the_same_bits(tmp_path, backend):
    assert train("scratch", tmp_path / "whole", backend).returncode == 0
    killed = train("scratch", tmp_path / "killed", backend, die_in_epoch=2)
    assert killed.returncode == -9, killed.stderr
    assert (tmp_path / "killed" / "stage1.ckpt.npz").exists() and not (tmp_path / "killed" / "result.npz").exists()
    again = train("scratch", tmp_path / "killed", backend)
    assert again.returncode == 0, again.stderr
    a, b = result(tmp_path / "whole"), result(tmp_path / "killed")
    for k in a: np.testing.assert_array_equal(a[k], b[k], err_msg=k)
    drop = lambda d: pd.read_csv(tmp_path / d / "history.csv").drop(columns="seconds")
    pd.testing.assert_frame_equal(drop("whole"), drop("killed"))  # nothing of the history is lost

@pytest.mark.parametrize("backend", BACKENDS)
def test_cached_equals_uncached(tmp_path, backend):
    "Two stages, metadata branch, dropout in the head; float32 cache, one view."
    for kind in "cached", "uncached":
        done = train(kind, tmp_path / kind, backend)
        assert done.returncode == 0, done.stderr
    a, b = (pd.read_csv(tmp_path / k / "history.csv") for k in ("cached", "uncached"))
    # measured spread of the losses: at most 5e-7 on both back ends; 1e-5 leaves room for other kernels
    np.testing.assert_allclose(a[["loss", "val_loss"]], b[["loss", "val_loss"]], atol=1e-5)
    np.testing.assert_allclose(result(tmp_path / "cached")["probabilities"], result(tmp_path / "uncached")["probabilities"], atol=1e-4)

def test_damaged_checkpoint_starts_anew(tmp_path):
    train("scratch", tmp_path, "tensorflow", die_in_epoch=1)
    (tmp_path / "stage1.ckpt.npz").write_bytes(b"half a file")
    done = train("scratch", tmp_path, "tensorflow")
    assert done.returncode == 0 and "damaged" in done.stderr
    assert len(pd.read_csv(tmp_path / "history.csv").query("stage == 1")) >= 3
