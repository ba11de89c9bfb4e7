"Every notebook runs from top to bottom, each in a process of its own, so that no seed, policy or memory leaks into the next."
import os, subprocess
from pathlib import Path
import pytest

NBS = Path(__file__).resolve().parent.parent / "nbs"
NOTEBOOKS = sorted(NBS.glob("*.ipynb"), reverse=True)  # the experiments take longest: first
MODEL = "30a_sample_net"  # one network's notebook stands for all experiments: they call the same functions
further = lambda p: "30" <= p.stem[:2] < "90"

def answer_of(command):
    done = subprocess.run(command, cwd=NBS.parent, env=os.environ | {"TQDM_DISABLE": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]

@pytest.mark.parametrize("path", [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] * further(p)) for p in NOTEBOOKS if p.stem != MODEL])
def test_notebook(path):
    answer_of(["nbdev_test", "--path", str(path), "--n_workers", "0"])

def test_model_notebook(tmp_path):
    "As a batch run does it, on two of its five folds; no score may be worse than in the sample's baseline."
    answer_of(["skin_nb_run", "--only", MODEL.split("_")[0], "--folds", "0,1", "--out", str(tmp_path / "run"),
               "--baseline", "results/sample/baseline.json"])
