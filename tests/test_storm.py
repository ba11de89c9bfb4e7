"A batch under kill -9 at random moments ends with the bits of one that nobody disturbed."
import contextlib
import signal
import subprocess
import time
from random import Random
import nbformat
import pytest

PARAMETERS = """data = "sample"
out = ""
profile = "sample"
weights = ""
seed = 0
folds = [0]"""
TRAIN = """from skin_nb.experiment import load_data, run_recipes
from skin_nb.recipe import Recipe, Stage, honest_recipe
frozen = honest_recipe("frozen", "SampleNet", 64, stages=(Stage(20, 1e-3),))
whole = Recipe("whole", "SampleNet", 64, (Stage(6, 1e-3, unfreeze="all"),), scratch=True)
run_recipes(((frozen, "lesion"), (whole, "lesion")), load_data(data), out, profile, weights, seed,
            folds)"""
MOMENTS = ["starting", "writing", "writing", "writing", "later", "later", "later", "later"]


@pytest.fixture
def project(tmp_path):
    "A notebook that trains two networks, one behind frozen layers and one as a whole."
    cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
             nbformat.v4.new_code_cell(TRAIN)]
    (tmp_path / "nbs").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "nbs/30_two.ipynb")
    return tmp_path


def start(project, out):
    return subprocess.Popen(["skin_nb_run", "--out", out], cwd=project, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True)


def finish(process):
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said


def predictions(run):
    files = sorted(run.rglob("predictions.csv"))
    assert len(files) == 2
    return [file.read_bytes() for file in files]


def checkpoints(run, pattern):
    "The checkpoints of a run, whole or half, and when each was written."
    found = set()
    for path in run.rglob(pattern):
        with contextlib.suppress(FileNotFoundError):
            found.add((path, path.stat().st_mtime_ns))
    return found


def wait_for(moment, process, run, random):
    "Wait for a moment of a run; False if the run is over before."
    if moment == "starting":
        time.sleep(random.uniform(0, 3))
        return process.poll() is None
    pattern = ".*.ckpt.npz.*" if moment == "writing" else "stage*.ckpt.npz"
    before = checkpoints(run, pattern)
    seen = set()
    wanted = random.randint(1, 3)
    while len(seen) < wanted and process.poll() is None:
        seen |= checkpoints(run, pattern) - before
    if moment == "later":
        time.sleep(random.uniform(0, .3))
    return process.poll() is None


@pytest.mark.slow
def test_a_storm_of_kills(project):
    finish(start(project, "calm"))
    random = Random(20)
    random.shuffle(MOMENTS)
    killed = []
    half = 0
    for moment in MOMENTS:
        process = start(project, "storm")
        if wait_for(moment, process, project / "storm", random):
            process.send_signal(signal.SIGKILL)
            killed.append(moment)
        process.communicate()
        half += len(checkpoints(project / "storm", ".*.ckpt.npz.*"))
    finish(start(project, "storm"))
    print(killed, half)
    assert len(killed) > len(MOMENTS) // 2 and "writing" in killed
    assert predictions(project / "storm") == predictions(project / "calm")
    assert not list((project / "storm").rglob("*.ckpt.npz*"))
