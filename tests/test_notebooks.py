"""Every notebook runs from top to bottom, each in a process of its own, so that no seed, policy or
memory leaks into the next.

These processes are forked from one that has imported what nearly all of them import, and computed
nothing: TensorFlow alone takes longer to import than most notebooks to run.
"""
import os
import subprocess
from pathlib import Path

import pytest
from apart import speak_into

NBS = Path(__file__).resolve().parent.parent / "nbs"
NOTEBOOKS = sorted(NBS.glob("*.ipynb"), reverse=True)  # the experiments take longest: first
# one network's notebook stands for all experiments: they call the same functions
MODEL = "30a_sample_net"
BASELINE = Path("results", "sample", "baseline.json")


def is_experiment(path):
    return "30" <= path.stem[:2] < "90"


def run_notebook(path, log):
    "The work of a forked process: one notebook, everything it says in a file."
    speak_into(log)
    os.chdir(NBS.parent)
    from nbdev.test import nbdev_test
    nbdev_test(path=str(path), n_workers=0)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, id=p.stem, marks=[pytest.mark.slow] * is_experiment(p))
        for p in NOTEBOOKS
        if p.stem != MODEL
    ],
)
def test_notebook(path, processes, tmp_path):
    log = tmp_path / "log.txt"
    process = processes.Process(target=run_notebook, args=(path, log))
    process.start()
    process.join()
    assert process.exitcode == 0, log.read_text()[-8000:]


def answer_of(command):
    "Run a command; weights that somebody has named would be others than those of the baseline."
    env = {name: value for name, value in os.environ.items() if name != "SKIN_NB_WEIGHTS"}
    done = subprocess.run(
        command, cwd=NBS.parent, env=env | {"TQDM_DISABLE": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]


def test_model_notebook(tmp_path):
    """As a batch run does it, on one of its five folds; no score may be worse than in the sample's
    baseline."""
    answer_of(
        [
            "skin_nb_run",
            "--only",
            MODEL.split("_")[0],
            "--folds",
            "0",
            "--out",
            str(tmp_path / "run"),
            "--baseline",
            str(BASELINE),
        ]
    )
