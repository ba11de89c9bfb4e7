"Every notebook runs from top to bottom, each in a process of its own, so that no seed, policy or memory leaks into the next."
import os, subprocess
from pathlib import Path
import pytest

NBS = Path(__file__).resolve().parent.parent / "nbs"
NOTEBOOKS = sorted(NBS.glob("*.ipynb"), reverse=True)  # the experiments take longest: first
MODEL = "30a_sample_net"  # one network's notebook stands for all experiments: they call the same functions
further = lambda p: "30" <= p.stem[:2] < "90" and p.stem != MODEL

@pytest.mark.parametrize("path", [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] * further(p)) for p in NOTEBOOKS])
def test_notebook(path):
    r = subprocess.run(["nbdev_test", "--path", str(path), "--n_workers", "0"], cwd=NBS.parent, env=os.environ | {"TQDM_DISABLE": "1"}, capture_output=True, text=True)
    assert r.returncode == 0, (r.stdout + r.stderr)[-8000:]
