"MLflow is told of every trial once, whatever happens, and nothing fails of it."
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path
import pandas as pd
import pytest
from skin_nb import batch, tracking
from skin_nb.batch import Outcome, run_notebooks
from skin_nb.core import SAMPLE_NOTE, write_json
from skin_nb.recipe import honest_recipe
from skin_nb.records import label_record
from skin_nb.rows import result_row
from skin_nb.tasks import HAM10000, task_to_dict
from skin_nb.tracking import Tracker, finished_trials, tell_of_run

NOWHERE = "http://me:secret@127.0.0.1:9"
RECIPE = honest_recipe("small", "SampleNet", 64)
TRIAL = "small, honest, split by lesion"
METRICS = dict(metric="balanced_accuracy", n=40, balanced_accuracy=.5, lo=.4, hi=.6, ece=None,
               intervals=dict(balanced_accuracy=[.4, .6]), seed=0, n_boot=9,
               per_class=dict(mel=dict(recall=.25, support=4)))
needs_mlflow = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None,
                                  reason="the extra mlflow isn't installed")


def write_model(path):
    "The file of a model as far as anybody reads it here."
    info = dict(task=task_to_dict(HAM10000), recipe=asdict(RECIPE), encoder=None)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("config.json", "metadata.json", "model.weights.h5"):
            archive.writestr(name, "{}")
        archive.writestr("skin_nb.json", json.dumps(info))


def finish(notebook, accuracy=.7, folds=(0, 2)):
    "Write what a notebook leaves that has finished: one trial of two folds."
    trial = notebook / "honest"
    (trial / "figures").mkdir(parents=True, exist_ok=True)
    (trial / "figures" / "roc.png").write_bytes(b"a picture")
    (trial / "predictions.csv").write_text("not to be told")
    write_model(trial / "model.keras")
    epochs = [dict(fold=fold, stage=1, epoch=n, loss=1 / (n + 1), val_loss=float("nan"))
              for fold in folds for n in range(3)]
    label_record(pd.DataFrame(epochs), RECIPE, HAM10000, "lesion").to_csv(trial / "history.csv")
    rows = [result_row(RECIPE, HAM10000, "lesion", fold, dict(METRICS, accuracy=accuracy), 61.2,
                       812, "random") for fold in folds]
    write_json(notebook / "metrics.json", dict(sample=True, rows=rows, scores={TRIAL: METRICS}))
    write_json(notebook / "done.json", dict(
        parameters=dict(data="sample", profile="sample", seed=0), data="0f3a",
        results=str(accuracy), environment=dict(commit="4ae58e", versions=dict(keras="3.15.1"))))
    return notebook


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    "The address of a store on disk, and a client of it."
    pytest.importorskip("mlflow", reason="the extra mlflow isn't installed")
    folder = tmp_path_factory.mktemp("mlflow")
    before = Path.cwd()
    os.chdir(folder)
    uri = f"sqlite:///{folder}/mlflow.db"
    yield uri, tracking._connect(uri)
    os.chdir(before)


def known(client, **facts):
    "The runs that MLflow has of a folder, by name."
    experiment = client.get_experiment_by_name("skin_nb sample")
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    return {r.info.run_name: r for r in found if facts.items() <= r.data.tags.items()}


def test_all_that_is_known_is_told(store, tmp_path):
    uri, client = store
    assert Tracker(uri).tell(finish(tmp_path / "all" / "30_small")) == ""
    runs = known(client, run_folder="all")
    assert set(runs) == {TRIAL, f"{TRIAL}, fold 0", f"{TRIAL}, fold 2"}
    trial = runs[TRIAL]
    fold = runs[f"{TRIAL}, fold 2"]
    assert {r.info.status for r in runs.values()} == {"FINISHED"}
    assert fold.data.tags["mlflow.parentRunId"] == trial.info.run_id
    assert fold.info.end_time - fold.info.start_time == pytest.approx(61_200, abs=2)
    wanted = {"recipe.head.dropout": "0.5", "recipe.stages.0.epochs": "20", "network": "SampleNet",
              "asked.data": "sample", "seed": "0", "fold": "2"}
    assert wanted.items() <= fold.data.params.items()
    assert trial.data.metrics["test/balanced_accuracy_hi"] == .6
    assert trial.data.metrics["class mel/recall"] == .25
    assert fold.data.metrics["test/balanced_accuracy_lo"] == .4
    assert fold.data.metrics["cost/rss_mb"] == 812 and "val_loss" not in fold.data.metrics
    losses = client.get_metric_history(fold.info.run_id, "loss")
    assert [(m.step, round(m.value, 3)) for m in losses] == [(0, 1.), (1, .5), (2, .333)]
    tags = trial.data.tags
    assert tags["mlflow.source.git.commit"] == "4ae58e" and tags["data_fingerprint"] == "0f3a"
    assert tags["versions.keras"] == "3.15.1" and tags["mlflow.note.content"] == SAMPLE_NOTE
    assert artifacts(client, trial) == {"figures/roc.png", "record/history.csv",
                                        "model/model.keras"}


def artifacts(client, run):
    found = client.list_artifacts(run.info.run_id)
    return {f.path for each in found if each.is_dir
            for f in client.list_artifacts(run.info.run_id, each.path)} | {
            each.path for each in found if not each.is_dir}


def test_told_twice_and_killed_between(store, tmp_path, monkeypatch):
    "The half of a killed try is gone, and every run is there once."
    uri, client = store
    notebook = finish(tmp_path / "twice" / "30_small")
    tried = Tracker(uri)
    with monkeypatch.context() as patch:
        patch.setattr(type(client), "log_artifact", lambda *_: exec("raise OSError('no disk')"))
        assert "no disk" in tried.tell(notebook)
    assert tried.tell(notebook) == ""  # it has given up
    assert [r.info.status for r in known(client, run_folder="twice").values()] == ["RUNNING"]
    for _ in range(2):
        assert Tracker(uri).tell(notebook) == ""
    experiment = client.get_experiment_by_name("skin_nb sample").experiment_id
    told = client.search_runs([experiment], "tags.run_folder = 'twice'")
    assert sorted(r.info.status for r in told) == ["FINISHED"] * 3


def test_other_results_are_another_run_and_a_card_comes_later(store, tmp_path, monkeypatch):
    uri, client = store
    notebook = finish(tmp_path / "anew" / "30_small", folds=(0,))
    monkeypatch.setattr(tracking, "MODEL_MB", 0)
    Tracker(uri).tell(notebook)
    before = known(client, run_folder="anew")[TRIAL]
    assert before.data.tags["model"].startswith("anew/30_small/honest/model.keras, 0.0 MB")
    (notebook / "honest" / "MODEL_CARD.md").write_text("# A card")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tell_of_run(notebook.parent) == []
    assert artifacts(client, before) == {"figures/roc.png", "record/history.csv", "MODEL_CARD.md"}
    finish(notebook, accuracy=.8, folds=(0,))
    Tracker(uri).tell(notebook)
    experiment = client.get_experiment_by_name("skin_nb sample").experiment_id
    assert len(client.search_runs([experiment], "tags.run_folder = 'anew'")) == 4


def run_two(folder, monkeypatch, uri, state="done"):
    "A batch of two notebooks that need no kernel: its outcomes."
    def run_one(path, run, **rest):
        finish(run / path.stem)
        return Outcome(path.stem, state, 1., run / path.stem / path.name)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(batch, "run_one", run_one)
    cell = dict(cell_type="code", source="data = 1", metadata=dict(tags=["parameters"]))
    for name in ("30_one", "31_two"):
        write_json(folder / f"{name}.ipynb", dict(cells=[cell]))
    paths = sorted(folder.glob("*.ipynb"))
    return [o.state for o in run_notebooks(paths, folder / "run", {})]


@needs_mlflow
def test_a_server_that_is_away_is_one_sentence(tmp_path, monkeypatch, capsys):
    assert run_two(tmp_path, monkeypatch, NOWHERE) == ["done", "done"]
    said = capsys.readouterr().out
    assert said.count("was not told of this run") == 1 and "secret" not in said
    assert "the same command tells it later" in said and "Traceback" not in said


def test_skipped_notebooks_are_told_failed_ones_are_not(store, tmp_path, monkeypatch, capsys):
    uri, client = store
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    run_two(tmp_path / "skipped", monkeypatch, uri, "skipped")
    run_two(tmp_path / "failed", monkeypatch, uri, "failed")
    experiment = client.get_experiment_by_name("mine").experiment_id
    assert len(client.search_runs([experiment])) == 6
    assert "MLflow" not in capsys.readouterr().out


def test_without_mlflow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    said = Tracker("sqlite:///x.db").tell(finish(tmp_path / "30_small"))
    assert "pip install 'skin_nb[mlflow]'" in said


def test_mlflow_is_imported_only_where_it_is_asked_for(tmp_path):
    finish(tmp_path / "run" / "30_small")
    program = ("import sys; from pathlib import Path; import skin_nb.commands; "
               "from skin_nb.tracking import tell_of_run; print(tell_of_run(Path('run'))); "
               "sys.exit('mlflow' in sys.modules)")
    env = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, text=True,
                          capture_output=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_folder_of_something_else_tells_nothing(tmp_path):
    notebook = finish(tmp_path / "30_small")
    pd.DataFrame(dict(epoch=[1])).to_csv(notebook / "honest" / "history.csv")
    (trial,) = finished_trials(notebook)
    assert trial.files == () and trial.folds[0].epochs == ()
    write_json(notebook / "metrics.json", dict(rows=[]))
    assert finished_trials(notebook) == []
