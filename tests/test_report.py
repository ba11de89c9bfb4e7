"The report of a run and its model cards: they stand alone, obey nobody, and say what the run says."
import json
import re
from pathlib import Path
import pandas as pd
import pytest
from html_reader import Reader
from skin_nb.core import DataError, write_json
from skin_nb.evaluation import evaluate
from skin_nb.figures import score_figures
from skin_nb.model_card import (
    NOT_MEASURED, label_tables, model_card, read_trial, trial_folders, write_card)
from skin_nb.predictions import invent_predictions, write_predictions
from skin_nb.recipe import honest_recipe
from skin_nb.records import invent_notebook
from skin_nb.report import read_run, report_command, report_page

NAME = "invented, honest, split by lesion"
ENVIRONMENT = dict(commit="4ae58e93e0", python="3.12", versions=dict(keras="3.15"), machine={})


@pytest.fixture(scope="module")
def invented():
    parts = [invent_predictions(250, seed=seed, split=split)
             for seed, split in ((1, "valid"), (2, "test"))]
    answers = pd.concat(parts, ignore_index=True)
    return answers, evaluate(answers, n_boot=60)


@pytest.fixture
def run(tmp_path, invented):
    "A run folder with one finished notebook."
    answers, metrics = invented
    notebook = tmp_path / "run" / "32_invented"
    about = dict(parameters=dict(data="/nowhere/ham", seed=0), data="0f3a", seconds=70.5,
                 environment=ENVIRONMENT)
    invent_notebook(notebook, honest_recipe("invented", "ResNet50"), answers, metrics, about)
    return notebook.parent


def only_trial(run):
    return read_run(run).trials[0]


def test_page_stands_alone(run, invented):
    answers, metrics = invented
    score_figures(answers, run / "32_invented/honest/figures", metrics=metrics)
    page = report_page(read_run(run))
    reader = Reader(page)
    assert reader.open == [] and "script" not in reader.tags
    assert all(w.startswith(("data:image/png;", "#")) for w in reader.wants)
    assert len(reader.alts) >= 8 and all(reader.alts)
    text = re.sub(r'base64,[^"]*', "", page)
    assert not re.search(r"https?://|url\(|@import|/nowhere|\bnan\b", text, re.I)


def test_figures_that_are_none_are_not_embedded(run):
    figures = run / "32_invented/honest/figures"
    figures.mkdir()
    (figures / "roc.png").write_text("<script>alert(1)</script>")
    page = report_page(read_run(run))
    assert "Figure roc: not there." in page and page.count("<img ") == 1  # the learning curve


def test_hostile_names_are_shown_and_not_obeyed(tmp_path, invented):
    answers, metrics = invented
    evil = "<img src=x onerror=alert(1)> [a](javascript:b) `c`"
    notebook = tmp_path / "<script>x" / "32_<b>"
    about = dict(parameters={"data": "<script>", "<i>": "<u>"}, data="<script>", seconds="<s>",
                 environment=dict(commit="<script>", machine={"<q>": "\n# Title"}))
    invent_notebook(notebook, honest_recipe(evil, "ResNet50"), answers, metrics, about)
    page = report_page(read_run(notebook.parent))
    tags = Reader(page).tags
    assert not tags & {"script", "b", "i", "u", "s", "q"} and "onerror=alert(1)&gt;" in page
    card = model_card(only_trial(notebook.parent))
    assert "<" not in card and "](" not in card and "\n# Title" not in card


@pytest.mark.parametrize("error, state", [(True, "not finished"), (False, "running")])
def test_what_is_not_finished_is_said(run, error, state):
    broken = run / "33_broken"
    write_json(broken / "begun.json", dict(parameters=dict(data="/nowhere/ham")))
    said = dict(output_type="error", traceback=["ValueError: no <pictures> left"])
    write_json(broken / "33_broken.ipynb", dict(cells=[dict(outputs=[said] if error else [])]))
    if not error:
        write_json(run / ".skin_nb.holder.json", dict(pid=1))
    page = report_page(read_run(run))
    assert "1 of 2 notebooks are finished" in page and f"<td>{state}</td>" in page
    assert ("no &lt;pictures&gt; left" in page) == error


@pytest.mark.parametrize("spoil", [
    lambda n: (n / "metrics.json").write_text("{"),
    lambda n: (n / "metrics.json").write_text('{"scores": {"%s": []}, "rows": 3}' % NAME),
    lambda n: (n / "honest/predictions.csv").write_text("image_id\n1\n"),
    lambda n: (n / "honest/history.csv").write_text(""),
    lambda n: (n / "honest/model.keras").write_text("no archive"),
    lambda n: (n / "done.json").write_text("[1, 2"),
    lambda n: (n / "done.json").write_text('{"environment": 3, "parameters": []}'),
    lambda n: (n / "honest/confusion.csv").unlink()], ids=range(8))
def test_spoilt_files_are_named_and_the_rest_is_shown(run, spoil):
    spoil(run / "32_invented")
    page = report_page(read_run(run))
    assert Reader(page).open == [] and NOT_MEASURED in page
    assert model_card(only_trial(run)).count(NOT_MEASURED) > 3


def test_other_predictions_than_those_scored_are_left_out(run, invented):
    answers, _ = invented
    write_predictions(run / "32_invented/honest/predictions.csv", answers.drop(answers.index[-1]))
    trial = only_trial(run)
    assert trial.predictions is None
    assert any("predictions.csv" in line and "metrics.json" in line for line in trial.lacks)


def test_card_says_what_metrics_json_says(run):
    metrics = json.loads((run / "32_invented/metrics.json").read_text())["scores"][NAME]
    card = model_card(only_trial(run))
    for name in ("balanced_accuracy", "accuracy", "auc", "ece", "brier"):
        lo, hi = metrics["intervals"][name]
        assert f"{metrics[name]:.3f} ({lo:.3f} to {hi:.3f})" in card, name
    known = {name: s for name, s in metrics["per_class"].items() if s["support"]}
    for name, scores in known.items():
        assert f"| {name} | {scores['support']} | {scores['recall']:.3f} (" in card
    for heading in ("Model details", "Intended use", "Factors", "Metrics", "Evaluation data",
                    "Training data", "Quantitative analyses", "Ethical considerations",
                    "Caveats and recommendations"):
        assert f"\n## {heading}\n" in card
    assert "Not a medical device" in card and "Skin tone: not measured" in card


def test_published_figures_stand_beside_with_their_split(tmp_path, invented):
    answers, metrics = invented
    notebook = tmp_path / "run" / "33_resnet50v2"
    invent_notebook(notebook, honest_recipe("resnet50v2", "ResNet50V2"), answers, metrics, {})
    said = f"split by image): accuracy {.6575:.3f}, macro F1 0.360, balanced accuracy 0.403"
    assert said in report_page(read_run(notebook.parent))
    assert said in model_card(only_trial(notebook.parent))


def test_groups_come_from_the_data_if_they_know_every_picture(run, invented):
    answers, _ = invented
    table = answers[["image_id", "lesion_id", "dx"]].assign(sex="female", age=40.)
    notebook = run / "32_invented"
    (folder, key), = trial_folders(notebook).items()
    trial = read_trial(folder, notebook, key, {}, [table.head(3), table])
    assert set(trial.groups.column) == {"sex", "age"} and "melanomas found by sex" in model_card(
        trial)
    assert read_trial(folder, notebook, key, {}, [table.head(3)]).groups.empty
    assert label_tables("/nowhere/ham") == []


def test_command_overwrites_only_its_own(run, capsys):
    card = run / "32_invented/honest/MODEL_CARD.md"
    assert report_command([str(run)]) == 0 and report_command([str(run)]) == 0
    assert card.exists() and "model cards: 1" in capsys.readouterr().out
    card.write_text(card.read_text() + "mine")
    page = run / "report.html"
    assert report_command([str(run)]) == 0
    assert "kept, since somebody has changed it" in capsys.readouterr().out
    assert card.read_text().endswith("mine")
    page.write_text(page.read_text() + "mine")
    assert report_command([str(run)]) == 2 and page.read_text().endswith("mine")
    assert report_command([str(run), "--out", str(run.parent / "new" / "r.html")]) == 0
    assert report_command([str(run), "--out", str(run.parent)]) == 2
    assert report_command([str(run), "--out", " "]) == 2


def test_no_run(tmp_path, capsys):
    with pytest.raises(DataError, match="no notebook of a run"):
        read_run(tmp_path)
    assert report_command([str(tmp_path)]) == 2 and report_command([str(tmp_path / "x")]) == 2
    assert "a run folder of skin_nb_run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_card_is_written_whole_or_not(run):
    trial = only_trial(run)
    assert write_card(trial).name == "MODEL_CARD.md"
    assert [p.name for p in trial.folder.glob(".*")] == []


@pytest.mark.parametrize("title, items", [("CLAIM 2024", 44), ("TRIPOD+AI 2024", 27)])
def test_checklist_is_whole_and_counted(title, items):
    path = Path(__file__).resolve().parent.parent / "nbs" / "checklist.ipynb"
    cells = ["".join(c["source"]) for c in json.loads(path.read_text())["cells"]]
    table = next(c for c in cells if c.startswith(f"## {title}"))
    rows = [line.split(" | ") for line in table.splitlines() if re.match(r"\| \d", line)]
    assert [int(row[0].strip("| ")) for row in rows] == list(range(1, items + 1))
    counts = [sum(row[2] == word for row in rows) for word in ("answered", "in part",
                                                               "not answered")]
    assert sum(counts) == items and any(re.search(r"{}\D+{}\D+{}\D".format(*counts), c)
                                        for c in cells[:2])
