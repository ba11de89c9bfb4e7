"""Training contracts that need processes of their own: resume after a kill, cached = uncached,
TensorFlow = JAX."""
import os
import subprocess
import sys
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from apart import run_program

HERE = Path(__file__).parent

@pytest.fixture
def train(processes):
    "`train(kind, out, backend)` trains in a process of its own: its exit code, and what it said."
    def train(kind, out, backend, die_in_epoch=-1):
        Path(out).mkdir(parents=True, exist_ok=True)
        return run_program(
            processes, out / "log.txt", backend, HERE / "train_script.py", kind, out, die_in_epoch
        )
    return train

def result(out):
    return dict(np.load(Path(out) / "result.npz"))

@pytest.mark.parametrize(
    "backend, kind",
    [("tensorflow", "options"), pytest.param("jax", "scratch", marks=pytest.mark.slow)],
)
def test_killed_run_ends_with_the_same_bits(train, tmp_path, backend, kind):
    assert train(kind, tmp_path / "whole", backend).returncode == 0
    killed = train(kind, tmp_path / "killed", backend, die_in_epoch=2)
    assert killed.returncode == -9, killed.said
    assert (tmp_path / "killed" / "stage1.ckpt.npz").exists()
    assert not (tmp_path / "killed" / "result.npz").exists()
    again = train(kind, tmp_path / "killed", backend)
    assert again.returncode == 0, again.said
    a, b = result(tmp_path / "whole"), result(tmp_path / "killed")
    for k in a:
        np.testing.assert_array_equal(a[k], b[k], err_msg=k)
    whole, killed = (pd.read_csv(tmp_path / d / "history.csv") for d in ("whole", "killed"))
    # nothing of the history is lost
    pd.testing.assert_frame_equal(whole.drop(columns="seconds"), killed.drop(columns="seconds"))

@pytest.mark.parametrize(
    "backend, net",
    [
        ("tensorflow", "small_"),
        ("jax", "small_"),
        *[pytest.param(b, "", marks=pytest.mark.slow) for b in ("tensorflow", "jax")],
    ],
)
def test_cached_equals_uncached(train, tmp_path, backend, net):
    """Two stages, metadata branch, dropout in the head; float32 cache, one view. MobileNetV2 takes
    most of a minute to compile: a small network stands for it."""
    done = train(f"{net}cached+{net}uncached", tmp_path, backend)
    assert done.returncode == 0, done.said
    cached, uncached = tmp_path / f"{net}cached", tmp_path / f"{net}uncached"
    a, b = (pd.read_csv(k / "history.csv") for k in (cached, uncached))
    # measured spread of the losses: at most 5e-7 on both back ends; 1e-5 leaves room for other
    # kernels
    np.testing.assert_allclose(a[["loss", "val_loss"]], b[["loss", "val_loss"]], atol=1e-5)
    np.testing.assert_allclose(
        result(cached)["probabilities"], result(uncached)["probabilities"], atol=1e-4
    )

def test_damaged_checkpoint_starts_anew(train, tmp_path):
    (tmp_path / "stage1.ckpt.npz").write_bytes(b"half a file")
    done = train("scratch", tmp_path, "tensorflow")
    assert done.returncode == 0 and "damaged" in done.said
    assert len(pd.read_csv(tmp_path / "history.csv").query("stage == 1")) >= 3

def test_a_checkpoint_belongs_to_its_pictures_and_labels(tmp_path):
    "Other pixels or other labels under the same names: the stage starts anew."
    from dataclasses import replace
    from skin_nb.recipe import Stage
    from skin_nb.checkpoints import Checkpoint
    from skin_nb.training import fit_recipe, prepare
    from train_script import SCRATCH, toy
    recipe = replace(SCRATCH, stages=(Stage(1, 1e-3, unfreeze="all"),))
    table, images = toy()
    fit_recipe(recipe, table, images, tmp_path, verbose=0)
    pixels, labels = images.copy(), table.copy()
    pixels[3, 4, 5, 0] ^= 1
    labels.loc[3, "dx"] = "nv" if labels.dx[3] != "nv" else "mel"

    def is_found(table, images):
        from skin_nb.core import content_key
        key = content_key(prepare(recipe, table, images).key, 1)
        return Checkpoint(tmp_path / "stage1.ckpt.npz", key, []).found is not None
    assert is_found(table, images)
    assert not is_found(table, pixels) and not is_found(labels, images)

@pytest.mark.slow
def test_prefix_notebook_on_jax():
    """Cut, key, cache and equality: the notebook that states them holds on the other back end as
    well."""
    env = dict(os.environ, KERAS_BACKEND="jax", TQDM_DISABLE="1")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "nbdev_test"), "--path", "21a_prefix_cache.ipynb"],
        cwd=HERE.parent / "nbs",
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr

real = pytest.mark.skipif(
    not (os.environ.get("SKIN_NB_DATA") and os.environ.get("SKIN_NB_WEIGHTS")),
    reason="SKIN_NB_DATA and SKIN_NB_WEIGHTS name no real data and weights",
)

@real
def test_real_pictures_and_weights(processes, tmp_path):
    """600 real pictures, lesion-clean: frozen MobileNetV2 with its weights is well above an answer
    that ignores the picture."""
    script = tmp_path / "program.py"
    script.write_text(f"""
import os
from skin_nb.evaluation import evaluate
from skin_nb.experiment import load_data
from skin_nb.pictures import decode_images
from skin_nb.predictions import predictions_table
from skin_nb.preparation import split_by_lesion
from skin_nb.recipe import Recipe, Stage
from skin_nb.training import fit_recipe
table = load_data(os.environ["SKIN_NB_DATA"])
few = table.groupby("lesion_id").head(1).groupby("dx").head(70)
few = split_by_lesion(few.sample(frac=1, random_state=0).reset_index(drop=True))
images = decode_images(few, 224, folder={str(tmp_path)!r})
recipe = Recipe("real", "MobileNetV2", 224, (Stage(20, 1e-3),))
fit = fit_recipe(recipe, few, images, {str(tmp_path)!r}, os.environ["SKIN_NB_WEIGHTS"],
                 folder={str(tmp_path)!r}, verbose=0)
print(evaluate(predictions_table(few, fit.probabilities, fit.rows), n_boot=0)["balanced_accuracy"])
""")
    done = run_program(processes, tmp_path / "log.txt", "tensorflow", script)
    assert done.returncode == 0, done.said
    assert float(done.said.split()[-1]) > .35  # an answer that ignores the picture has .14
