"Runs: how they end, what a second one knows of the first, and what they say meanwhile."
import contextlib
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from random import Random
import nbformat
import pytest
import skin_nb
from bad_arguments import class_folders
from skin_nb import batch, template
from skin_nb.batch import (
    EARLIER, batch_environment, find_notebooks, no_experiments, notebooks_folder, run_notebooks,
    run_one)
from skin_nb.commands import describe_plan, plan_run, report_run, run_command, run_parser
from skin_nb.core import DataError, Problem
from skin_nb.regression import Baseline
from skin_nb.rows import result_table


def notebook(path, *sources, tag="parameters"):
    "Write a notebook: a title, a tagged cell, further code cells."
    path.parent.mkdir(parents=True, exist_ok=True)
    defaults = nbformat.v4.new_code_cell('data = ""\nout = ""\nseed = 0', metadata={"tags": [tag]})
    cells = [nbformat.v4.new_markdown_cell("# A notebook"), defaults,
             *map(nbformat.v4.new_code_cell, sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


# how a run ends

SLEEP = """import os, pathlib, subprocess, time
from skin_nb.terminal import Progress
worker = subprocess.Popen(["sleep", "60"])
with Progress(800, "decoding") as progress:
    progress.update(300)
    pathlib.Path(out, "pids").write_text(f"{os.getpid()} {worker.pid} .")
    time.sleep(60)"""


def process_state(pid):
    "The state letter of a process and its parent; None: it is gone."
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:2]
    except OSError:
        return None


def is_alive(pid):
    return (process_state(pid) or "Z")[0] != "Z"


def wait_for(condition, seconds=40):
    deadline = time.time() + seconds
    while not condition() and time.time() < deadline:
        time.sleep(.05)
    return condition()


@pytest.fixture
def sleeper(tmp_path):
    "A run that has come to a notebook's long sleep: the process, its folder, its descendants."
    notebook(tmp_path / "nbs/30_sleep.ipynb", SLEEP)
    process = subprocess.Popen(
        ["skin_nb_run", "--out", "run"], cwd=tmp_path, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    note = tmp_path / "run/30_sleep/pids"
    assert wait_for(lambda: note.exists() and note.read_text().endswith("."))
    kernel, worker = map(int, note.read_text().split()[:2])
    pids = [kernel, worker, int(process_state(kernel)[1])]
    yield process, tmp_path, pids
    for pid in (process.pid, *pids):
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
    process.communicate()


def read_until(stream, words, seconds=20):
    "What a pipe says until some words have come, or it has been long enough."
    said = ""
    deadline = time.time() + seconds
    while words not in said and time.time() < deadline:
        if select.select([stream], [], [], .1)[0]:
            said += os.read(stream.fileno(), 65536).decode()
    return said

@pytest.mark.parametrize("name, code, says", [
    ("SIGTERM", 143, "stopped by SIGTERM"), ("SIGINT", 130, "interrupted"), ("SIGKILL", -9, "")])
def test_whatever_ends_a_run_ends_its_notebooks(sleeper, name, code, says):
    process, folder, pids = sleeper
    before = ""
    if name == "SIGTERM":
        before = read_until(process.stderr, "/800 img")
        second = subprocess.run(["skin_nb_run", "--out", "run"], cwd=folder, capture_output=True,
                                text=True)
        assert second.returncode == 2 and f"process {process.pid} on" in second.stderr
    process.send_signal(getattr(signal, name))
    said = before + process.communicate(timeout=20)[1]
    assert process.returncode == code and says in said and "Traceback" not in said
    assert wait_for(lambda: not any(map(is_alive, pids)), 5)
    if name == "SIGTERM":
        assert "1/1 30_sleep: decoding: " in said and "/800 img" in said and "\r" not in said


DIE = """import os, pathlib, subprocess
worker = subprocess.Popen(["sleep", "60"])
pathlib.Path(out, "worker").write_text(str(worker.pid))
os.kill(os.getpid(), 9)"""


def test_a_killed_kernel_is_called_that(tmp_path):
    notebook(tmp_path / "nbs/30_large.ipynb", DIE)
    r = subprocess.run(["skin_nb_run", "--out", "run"], cwd=tmp_path, capture_output=True,
                       text=True)
    assert r.returncode == 1 and "memory" in r.stdout and "--jobs" in r.stdout, r.stdout
    assert not (tmp_path / "run/30_large/progress.json").exists()
    worker = int((tmp_path / "run/30_large/worker").read_text())
    assert wait_for(lambda: not is_alive(worker), 5)


def test_nobody_reads_what_a_run_prints(tmp_path):
    notebook(tmp_path / "nbs/30_sleep.ipynb", SLEEP)
    script = "skin_nb_run --out run | head -1; echo ${PIPESTATUS[0]}"
    r = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True,
                       timeout=40)
    first, code = r.stdout.splitlines()
    assert "sample" in first and code == "141"
    assert "Traceback" not in r.stderr and "Error" not in r.stderr


# what a second run knows of the first

@pytest.fixture
def fake(monkeypatch):
    "Notebooks that only leave a result; `fake.code` is their exit code."
    def run_papermill(executed, parameters, work, env, children):
        fake.seen.append(sorted(p.name for p in executed.parent.iterdir()))
        if not fake.code:
            row = dict(recipe="tiny", split="lesion", protocol="honest", accuracy=.5)
            metrics = executed.with_name("metrics.json")
            metrics.write_text(json.dumps(dict(rows=[row])))
        return fake.code

    def fake():
        pass
    fake.code = 0
    fake.seen = []
    monkeypatch.setattr(batch, "run_papermill", run_papermill)
    return fake


@pytest.fixture
def go(tmp_path, fake):
    "Run one notebook in a folder that stays: (state, why it ran again)."
    path = notebook(tmp_path / "nbs/30_tiny.ipynb", "1")

    def go(data="1", **parameters):
        outcome = run_one(path, tmp_path / "run", dict(seed=0, **parameters), {}, data)
        return outcome.state, outcome.again
    go.path, go.folder = path, tmp_path / "run/30_tiny"
    return go


def test_data_that_changed_are_other_data(go, fake):
    assert [go()[0], go()[0]] == ["done", "skipped"]
    state, again = go(data="2")
    assert state == "done" and "data have changed" in again
    assert "metrics.json" not in fake.seen[-1]
    earlier = go.folder.parent / EARLIER / "30_tiny-1"
    assert (earlier / "metrics.json").exists() and str(EARLIER) in again
    assert go(data="2")[0] == "skipped"


def test_old_results_are_not_those_of_a_failed_run(go, fake):
    go()
    fake.code = 137
    state, again = go(data="2")
    assert state == "failed" and not (go.folder / "metrics.json").exists()
    assert not list(go.folder.parent.glob("*/metrics.json"))  # nothing for the leaderboard


@pytest.mark.parametrize("change, says", [
    (lambda go: notebook(go.path, "2"), "code has changed"),
    (lambda go: (go.folder / "done.json").write_text("{"), "damaged"),
    (lambda go: (go.folder / "done.json").write_text("[]"), "damaged"),
    (lambda go: (go.folder / "metrics.json").unlink(), "results were changed or deleted"),
    (lambda go: (go.folder / "metrics.json").write_text("{}"), "results were changed")])
def test_why_a_notebook_runs_again(go, change, says):
    go()
    change(go)
    state, again = go()
    assert state == "done" and says in again


def test_code_of_the_package_counts(go, monkeypatch):
    go()
    monkeypatch.setattr(batch, "used_modules", lambda code: {"tasks.py": "other"})
    assert "package's code has changed" in go()[1]


def test_an_unfinished_try_is_gone_on_with(go, fake):
    "Its checkpoints are worth keeping, unless it was another run."
    fake.code = 1
    go()
    (go.folder / "fold0.ckpt.npz").touch()
    assert "did not finish" in go()[1] and "fold0.ckpt.npz" in fake.seen[-1]
    assert "data have changed" in go(data="2")[1] and "fold0.ckpt.npz" not in fake.seen[-1]


def test_other_parameters_are_named(tmp_path, go):
    go()
    outcome = run_one(go.path, tmp_path / "run", dict(seed=5), {}, "1")
    assert "seed 0 -> 5" in outcome.again


def test_force_runs_what_is_done(tmp_path, go, fake):
    go()
    assert go()[0] == "skipped"
    outcome = run_one(go.path, tmp_path / "run", dict(seed=0), {}, "1", force=True)
    assert outcome.state == "done" and "--force" in outcome.again
    assert "metrics.json" not in fake.seen[-1] and go()[0] == "skipped"


# what notebooks need

def needy(path, *needs):
    "A notebook that needs others."
    notebook(path, "1")
    stored = nbformat.read(path, 4)
    stored.cells[1].source += f"\nneeds = {list(needs)!r}"
    nbformat.write(stored, path)
    return path


@pytest.fixture
def three(tmp_path, fake):
    "Three notebooks, the first needs the second; `three()` runs them: name -> state."
    folder = tmp_path / "nbs"
    needy(folder / "30_first.ipynb", "31_second")
    notebook(folder / "31_second.ipynb", "1")
    notebook(folder / "32_third.ipynb", "1")

    def three(only="", jobs=2, **options):
        outcomes = run_notebooks(
            find_notebooks(folder, only), tmp_path / "run", {}, jobs, **options
        )
        three.said = {o.notebook: o.error or o.again for o in outcomes}
        return {o.notebook: o.state for o in outcomes}
    three.folder, three.run = folder, tmp_path / "run"
    return three


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_is_needed_runs_first(three, fake, jobs):
    assert set(three(jobs=jobs).values()) == {"done"}
    ends = {name: (three.run / name / "done.json").stat().st_mtime_ns
            for name in ("30_first", "31_second")}
    assert ends["31_second"] < (three.run / "30_first" / "begun.json").stat().st_mtime_ns
    assert set(three(jobs=jobs).values()) == {"skipped"}


def test_new_results_are_read_again(three):
    three()
    notebook(three.folder / "31_second.ipynb", "2")
    assert three() == {"30_first": "done", "31_second": "done", "32_third": "skipped"}
    assert "what it needs has changed" in three.said["30_first"]


def test_what_needs_a_failed_notebook_does_not_run(three, fake):
    fake.code = 1
    assert set(three().values()) == {"failed"}
    assert three.said["30_first"] == "not run: it needs 31_second, which failed"
    assert len(fake.seen) == 2


def test_what_is_left_out_comes_from_the_run_folder(three, monkeypatch):
    monkeypatch.chdir(three.folder.parent)
    with pytest.raises(DataError, match="Add 31 to --only"):
        plan("--only", "30", "--out", "run")
    three("31", data=f"sample {skin_nb.__version__}")
    (three.run / "31_second" / "parameters.json").write_text("{}")
    said = " ".join(describe_plan(plan("--only", "30", "--out", "run", "--seed", "5")).split())
    assert "taken 31_second from an earlier call (other parameters: " in said
    assert "seed nothing -> 5" in said and not (three.run / "30_first").exists()


def test_circles_and_strangers_are_refused(three):
    needy(three.folder / "31_second.ipynb", "30")
    with pytest.raises(DataError, match="circle: 3._.* needs 3._.* needs 3._"):
        three()
    needy(three.folder / "31_second.ipynb", "35_nowhere")
    with pytest.raises(DataError, match="35_nowhere"):
        three()


# kill -9

EPOCHS = """import os, time
from pathlib import Path
from skin_nb.core import read_json, replacing, write_json
state = Path(out, "fold0", "stage1.ckpt.npz")
epochs = read_json(state) if state.exists() else []
for epoch in range(len(epochs), 12):
    epochs.append([epoch, os.getpid()])
    with replacing(state) as half:
        write_json(half, epochs)
        time.sleep(.15)
write_json(Path(out, "metrics.json"), dict(rows=[], epochs=epochs))"""


def test_killed_at_any_moment_a_run_goes_on(tmp_path):
    "Epochs are never done twice once they are kept, and half a checkpoint is cleared away."
    notebook(tmp_path / "nbs/30_quick.ipynb", "1")
    notebook(tmp_path / "nbs/31_long.ipynb", EPOCHS)
    command = ["skin_nb_run", "--out", "run"]
    state = tmp_path / "run/31_long/fold0/stage1.ckpt.npz"
    random = Random(20)
    for kill in range(2):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True)
        before = len(json.loads(state.read_text())) if state.exists() else 0
        assert wait_for(lambda: state.exists() and len(json.loads(state.read_text())) > before)
        time.sleep(random.uniform(0, .3))
        process.kill()
        process.wait()
    (state.parent / ".stage1.ckpt.npz.4711.tmp.npz").write_text("half a file")
    r = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert r.returncode == 0 and "skipped  30_quick" in r.stdout, r.stdout + r.stderr
    epochs = json.loads((tmp_path / "run/31_long/metrics.json").read_text())["epochs"]
    assert [epoch for epoch, _ in epochs] == list(range(12))
    assert len({kernel for _, kernel in epochs}) == 3
    assert not state.parent.exists()


# where the notebooks are

@pytest.fixture
def foreign(tmp_path, monkeypatch):
    "A project with numbered notebooks of its own, none of them an experiment."
    nbs = tmp_path / "project" / "nbs"
    notebook(nbs / "01_eda.ipynb", "1", tag="other")
    notebook(nbs / "31_model.ipynb", "1", tag="other")
    (nbs / "32_half.ipynb").write_text('{"cells": [')
    (nbs / "33_list.ipynb").write_text("[1, 2]")
    (nbs / "34_odd.ipynb").write_text('{"cells": [{"source": 5}], "metadata": 7}')
    os.mkfifo(nbs / "35_pipe.ipynb")
    monkeypatch.chdir(nbs.parent)
    return nbs


def test_notebooks_of_another_project_are_not_ours(foreign, root):
    assert notebooks_folder() == root / "nbs"
    assert len(no_experiments(foreign)) == 5
    notebook(foreign / "36_experiment.ipynb", "1")
    assert notebooks_folder() == foreign
    assert [p.name for p in find_notebooks(foreign)] == ["36_experiment.ipynb"]
    with pytest.raises(DataError, match="32_half"):
        find_notebooks(foreign, "32")


def test_nothing_to_run_is_an_error(foreign, monkeypatch, capsys):
    monkeypatch.setattr(batch, "own_notebooks", lambda: foreign / "none")
    assert run_command([]) == 2 and run_command(["--list"]) == 2
    assert "no experiment notebooks" in capsys.readouterr().err
    assert not list(foreign.parent.rglob("_runs"))


def test_a_new_recipe_goes_beside_ours(foreign, tmp_path, root, monkeypatch):
    ours = tmp_path / "ours"
    ours.mkdir()
    model = root / "nbs" / "38a_mobilenet_v2.ipynb"
    (ours / model.name).write_bytes(model.read_bytes())
    monkeypatch.setattr(template, "own_notebooks", lambda: ours)
    assert template.new_recipe_command(["dense", "--backbone", "densenet121"]) == 0
    assert (ours / "38b_dense.ipynb").exists() and not list(foreign.glob("38*"))


# what is said before the start

def plan(*arguments):
    return plan_run(run_parser().parse_args([str(a) for a in arguments]))


@pytest.mark.filterwarnings("ignore:nothing says")
def test_what_will_run_is_said_first(tmp_path, monkeypatch):
    class_folders(tmp_path)
    monkeypatch.setenv("SKIN_NB_WEIGHTS", str(tmp_path))
    planned = plan("--data", tmp_path / "data", "--only", "30,33,90", "--out", tmp_path / "run",
                   "--layout", "folders", "--folds", "1")
    assert planned.parameters["data"] == dict(folder=str(tmp_path / "data"), layout="folders",
                                              part=None)
    said = " ".join(describe_plan(planned).split())
    for text in (f"{tmp_path}/data, 10 images", "layout folders", "2 classes: nv (5), mel (5)",
                 "profile cpu", "trained from scratch: ResNet50V2",
                 "30_custom_cnn, 33_resnet50v2, 90_results",
                 f"output {tmp_path}/run", "cost not known"):
        assert text in said
    assert not (tmp_path / "run").exists()
    known = plan("--data", tmp_path / "data", "--only", "30", "--out", tmp_path / "run")
    assert "min of training on the machine" in describe_plan(known)
    widths = {len(line) for line in describe_plan(known).splitlines() if str(tmp_path) not in line}
    assert max(widths) <= 80


def test_a_parameter_of_one_notebook(tmp_path):
    planned = plan("--only", "56,56a,30", "-p", "few", "7", "-p", "networks", "sample_net,40",
                   "--out", tmp_path / "run")
    assert planned.parameters["few"] == 7 and planned.parameters["networks"] == "sample_net,40"
    for wrong, says in ((("fwe", "7"), "Did you mean few"), (("few", "many"), "a whole number"),
                        (("seed", "7"), "an option of its own")):
        with pytest.raises(DataError, match=says):
            plan("--only", "56", "-p", *wrong, "--out", tmp_path / "run")


def test_numbers_of_the_profile(tmp_path):
    planned = plan("--only", "30", "--profile", "gpu", "--out", tmp_path / "run",
                   "-p", "size", "96", "-p", "batch", "none")
    assert planned.parameters["profile"] == dict(name="gpu", size=96, batch=None)
    assert "profile gpu, size 96, batch none" in " ".join(describe_plan(planned).split())
    assert plan("--only", "30", "--out", tmp_path / "run").parameters["profile"] == "sample"
    for wrong, says in ((("size", "0"), "from 1, or none"), (("rows", "few"), "a whole number")):
        with pytest.raises(DataError, match=says):
            plan("--only", "30", "-p", *wrong, "--out", tmp_path / "run")


@pytest.mark.filterwarnings("ignore:nothing says")
def test_a_cluster_that_nobody_reaches_leaves_no_folder(tmp_path, monkeypatch, capsys):
    @contextlib.contextmanager
    def nobody(address):
        raise DataError(Problem("--dask", None, address, "a scheduler", "Start one."))
        yield
    monkeypatch.setattr("skin_nb.commands.connected", nobody)
    assert (
        run_command(["--only", "30", "--out", str(tmp_path / "run"), "--dask", "tcp://none:1"]) == 2
    )
    assert "Start one" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_which_sample_is_meant(tmp_path, monkeypatch):
    class_folders(tmp_path)
    (tmp_path / "data").rename(tmp_path / "sample")
    monkeypatch.chdir(tmp_path)
    embedded = plan("--only", "30", "--out", "run")
    assert embedded.data.is_sample and "the folder of this name is ./sample" in \
        " ".join(describe_plan(embedded).split())
    folder = plan("--data", "./sample", "--only", "30", "--out", "run")
    assert not folder.data.is_sample and folder.data.folder == tmp_path / "sample"
    assert embedded.data.stamp != folder.data.stamp


# what is compared

ROW = dict(recipe="tiny", network="None", task="ham10000", protocol="honest", split="lesion",
           fold=0, seed=0, balanced_accuracy=.5, accuracy=.7, macro_f1=.5, auc=.8)


@pytest.mark.parametrize("now, code, says", [
    ([ROW], 0, "4 same, 0 worse, 0 missing"),
    ([dict(ROW, auc=.7)], 1, "0.700   -0.100   worse"),
    ([dict(ROW, auc=None)], 1, "nothing"),
    ([dict(ROW, recipe="other")], 1, "4 missing")])
def test_scores_that_are_gone_are_missing(tmp_path, capsys, now, code, says):
    path = tmp_path / "30_tiny" / "metrics.json"
    path.parent.mkdir()
    path.write_text(json.dumps(dict(rows=now)))
    baseline = result_table([ROW])
    assert report_run(tmp_path, [], Baseline(baseline, {}), expected=baseline) == code
    assert says in capsys.readouterr().out


def test_a_kernel_finds_its_environment(tmp_path):
    env = batch_environment(tmp_path, 2)
    assert env["TQDM_DISABLE"] == "1" and int(env["OMP_NUM_THREADS"]) >= 1
