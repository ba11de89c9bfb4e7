"Two devices train what one trains, a last batch that doesn't divide included."
import os
import subprocess
import sys
from pathlib import Path
import numpy as np
import pandas as pd
import pytest

HERE = Path(__file__).parent
PROGRAM = """
import os
import sys
from pathlib import Path
import numpy as np
from dataclasses import replace
from skin_nb.recipe import Stage
from skin_nb.training import fit_recipe
from train_script import SCRATCH, SMALL, toy

table, images = toy(77)  # 55 rows to train on, the last batch has 7; 11 to validate
recipes = dict(frozen=replace(SMALL, stages=(Stage(2, 1e-3),)),
               scratch=replace(SCRATCH, stages=(Stage(2, 1e-3, unfreeze="all"),)))
for devices in ("2", "1"):
    os.environ["SKIN_NB_DEVICES"] = devices
    for name, recipe in recipes.items():
        out = Path(sys.argv[1], name, devices)
        out.mkdir(parents=True)
        fit = fit_recipe(recipe, table, images, out, folder=out / "cache", verbose=0)
        fit.history.to_csv(out / "history.csv", index=False)
        spread = len(fit.model.weights[0].value.sharding.device_set)
        np.savez(out / "fit.npz", probabilities=fit.probabilities, devices=spread)
"""


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    "The folder with what one device and two have trained."
    pytest.importorskip("jax", reason="needs jax (extra dev)")
    folder = tmp_path_factory.mktemp("devices")
    env = dict(os.environ, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu", TQDM_DISABLE="1",
               PYTHONPATH=str(HERE),
               XLA_FLAGS="--xla_force_host_platform_device_count=2 "
                         "--xla_cpu_collective_call_terminate_timeout_seconds=600")
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], env=env, text=True,
                          capture_output=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["frozen", "scratch"])
def test_two_devices_train_what_one_trains(fits, name):
    "Behind a frozen network, and a whole one with augmentation and batch norm."
    one, two = (np.load(fits / f"{name}/{n}/fit.npz") for n in (1, 2))
    assert (one["devices"], two["devices"]) == (1, 2)
    np.testing.assert_allclose(two["probabilities"], one["probabilities"], atol=1e-3)
    a, b = (pd.read_csv(fits / f"{name}/{n}/history.csv") for n in (1, 2))
    np.testing.assert_allclose(a[["loss", "val_loss"]], b[["loss", "val_loss"]], rtol=1e-3)
    assert a.accuracy.tolist() == pytest.approx(b.accuracy.tolist())
