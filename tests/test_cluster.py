"A Dask cluster of separate processes runs a batch, also when one of its workers is killed."
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
import nbformat
import pytest

pytest.importorskip("distributed", reason="the extra dask isn't installed")
LONG = """import json, os, time
from pathlib import Path
state = Path(out, "steps.json")
steps = json.loads(state.read_text()) if state.exists() else []
while len(steps) < 10:
    steps.append(os.getpid())
    half = state.with_name("half.json")
    half.write_text(json.dumps(steps))
    half.rename(state)
    time.sleep(.5)
Path(out, "metrics.json").write_text(json.dumps(dict(rows=[], steps=steps)))"""
READ = """from pathlib import Path
found = sorted(p.parent.name for p in Path(runs).glob("*/metrics.json"))
Path(out, "found.txt").write_text(" ".join(found))"""


def notebook(path, parameters, source):
    cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
             nbformat.v4.new_code_cell(source)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "nbs").mkdir()
    notebook(tmp_path / "nbs/30_long.ipynb", 'out = ""', LONG)
    notebook(tmp_path / "nbs/31_fails.ipynb", 'out = ""', "1 / 0")
    notebook(tmp_path / "nbs/90_all.ipynb", 'runs = ""\nout = ""\nneeds = "all"', READ)
    return tmp_path


def wait_for(condition, seconds=90):
    deadline = time.time() + seconds
    while not condition() and time.time() < deadline:
        time.sleep(.1)
    return condition()


@pytest.fixture
def cluster(tmp_path):
    "A scheduler and two workers on this machine: its address."
    note = tmp_path / "scheduler.json"

    def start(kind, *options):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options,
                   "--scheduler-file", str(note), "--no-dashboard"]
        log = open(tmp_path / "cluster.log", "a")
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)

    processes = [start("scheduler", "--host", "127.0.0.1", "--port", "0")]
    assert wait_for(note.exists)
    for number in range(2):
        processes.append(start("worker", "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1"))
    yield json.loads(note.read_text())["address"]
    for process in processes:
        process.kill()
        process.wait()


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(project, cluster):
    steps = project / "run/30_long/steps.json"
    process = subprocess.Popen(["skin_nb_run", "--out", "run", "--dask", cluster], cwd=project,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert wait_for(lambda: steps.exists() and len(json.loads(steps.read_text())) > 2)
    kernel = json.loads(steps.read_text())[0]
    os.kill(parent(parent(kernel)), signal.SIGKILL)  # kernel, papermill, worker
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 1 and "FAILED   31_fails" in said and "division" in said, said
    ran = json.loads((project / "run/30_long/metrics.json").read_text())["steps"]
    assert len(ran) == 10 and len(set(ran)) == 2  # two kernels, and nothing done twice
    assert (project / "run/90_all/found.txt").read_text() == "30_long"
    assert not (project / "run/.skin_nb.alive").exists()
    again = subprocess.run(["skin_nb_run", "--out", "run", "--only", "30,90", "--dask", cluster],
                           cwd=project, capture_output=True, text=True)
    assert "skipped  30_long" in again.stdout and again.returncode == 0, again.stdout


@pytest.mark.slow
def test_an_interrupt_ends_the_notebooks_of_the_cluster(project, cluster):
    steps = project / "run/30_long/steps.json"
    process = subprocess.Popen(["skin_nb_run", "--out", "run", "--only", "30", "--dask", cluster],
                               cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    assert wait_for(steps.exists)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    kernel = json.loads(steps.read_text())[0]
    assert wait_for(lambda: not Path(f"/proc/{kernel}").exists(), 15)


@pytest.mark.slow
def test_a_cluster_that_can_not_help(project, cluster):
    def go(*more):
        r = subprocess.run(["skin_nb_run", "--out", "run", *more], cwd=project,
                           capture_output=True, text=True)
        return r.returncode, r.stderr
    code, said = go("--dask", "tcp://127.0.0.1:9")
    assert code == 2 and "dask scheduler" in said and "Traceback" not in said
