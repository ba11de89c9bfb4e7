"The regression command: when it sounds, when it keeps quiet, and what it refuses."
import json
from pathlib import Path
import pytest
from skin_nb.core import write_json
from skin_nb.regress_command import regress_command
from skin_nb.regression import (
    LEAST_SEEDS, compare_runs, describe_environment, leave_one_out, read_baseline, write_baseline)

SAMPLE = Path("results", "sample", "baseline.json")
ROW = dict(recipe="tiny", network="None", task="ham10000", protocol="honest", split="lesion")
STRAY = (.0, .01, -.01, .005, -.005, .002)  # of a score, by seed


def write_run(folder, seed=0, fall=0., folds=(0, 1), **asked):
    "A run folder with one notebook; its scores fall short of what is usual."
    rows = [dict(ROW, fold=fold, seed=seed, balanced_accuracy=.6 + STRAY[seed] - fall,
                 accuracy=.7 - STRAY[seed]) for fold in folds]
    write_json(folder / "30_tiny" / "metrics.json", dict(rows=rows))
    parameters = dict(data="sample", profile="sample", weights="") | asked
    write_json(folder / "30_tiny" / "done.json",
               dict(parameters=parameters, environment=describe_environment()))
    return str(folder)


@pytest.fixture
def baseline(tmp_path):
    "The path of a baseline of five seeds."
    runs = [write_run(tmp_path / f"seed{seed}", seed) for seed in range(5)]
    path = str(tmp_path / "baseline.json")
    assert regress_command([*runs, "--baseline", path, "--update"]) == 0
    return path


@pytest.mark.parametrize("options, arguments, code, says", [
    (dict(), (), 0, "2 same, 0 worse, 0 missing"),
    (dict(fall=.2), (), 1, "1 worse"),
    (dict(fall=-.2), (), 0, "1 better"),
    (dict(folds=(0,)), (), 1, "2 missing"),
    (dict(folds=(0,)), ("--folds", "0"), 0, "2 same"),
    (dict(folds=(0,), fall=.2), ("--folds", "0"), 1, "1 worse"),
    (dict(profile="cpu"), (), 2, "profile 'cpu'"),
    (dict(data="/elsewhere/HAM10000"), (), 2, "data 'HAM10000'"),
    (dict(), ("--folds", "7"), 2, "--folds"),
    (dict(), ("--only", "77"), 2, "--only")])
def test_exit_codes(tmp_path, baseline, capsys, options, arguments, code, says):
    run = write_run(tmp_path / "run", 5, **options)
    assert regress_command([run, "--baseline", baseline, *arguments]) == code
    said = capsys.readouterr()
    assert says in said.out + said.err and "Traceback" not in said.err


def test_what_differs_is_said(tmp_path, baseline, capsys):
    run = write_run(tmp_path / "run", 5)
    record = json.loads((tmp_path / "run/30_tiny/done.json").read_text())
    record["environment"]["versions"]["keras"] = "99.0"
    write_json(tmp_path / "run/30_tiny/done.json", record)
    assert regress_command([run, "--baseline", baseline]) == 0
    assert "-> 99.0" in capsys.readouterr().out


def test_update_refuses_what_does_not_belong_together(tmp_path, capsys):
    out = ["--baseline", str(tmp_path / "new.json"), "--update"]
    first = write_run(tmp_path / "a", 0)
    assert regress_command([first, write_run(tmp_path / "b", 0), *out]) == 2
    assert regress_command([first, write_run(tmp_path / "c", 1, profile="gpu"), *out]) == 2
    assert regress_command([str(tmp_path / "none"), *out]) == 2
    assert not (tmp_path / "new.json").exists()
    assert regress_command([first, write_run(tmp_path / "d", 1), *out]) == 0
    assert f"fewer than {LEAST_SEEDS} seeds" in capsys.readouterr().out


def edit_score(**changes):
    def edit(content):
        content["scores"][0] |= changes
        return content
    return edit


@pytest.mark.parametrize("edit, says", [
    (lambda content: [], "no seeds"),
    (lambda content: dict(content, seeds=[1, 1, 2, 3, 4]), "no seeds"),
    (lambda content: dict(content, seeds=["0"] * 5), "no seeds"),
    (lambda content: dict(content, scores=[]), "no scores"),
    (lambda content: dict(content, about=None), "nothing about"),
    (edit_score(mean=.9), "mean 0.9"),
    (edit_score(values=[.5]), "score 1"),
    (edit_score(values=[None] * 5), "no numbers"),
    (edit_score(values=[67] * 5, mean=67), "no numbers"),
    (edit_score(values=["a"] * 5), "no numbers"),
    (edit_score(metric="beauty"), "beauty"),
    (edit_score(fold=0), "score 1"),
    (lambda content: dict(content, scores=content["scores"] * 2), "a second"),
    (lambda content: dict(content, scores=[3]), "score 1")])
def test_an_edited_baseline_is_refused(tmp_path, baseline, capsys, edit, says):
    path = Path(baseline)
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))
    assert regress_command([write_run(tmp_path / "run", 5), "--baseline", baseline]) == 2
    assert says in capsys.readouterr().err


def test_a_baseline_is_written_in_one_way(tmp_path, baseline):
    again = tmp_path / "again.json"
    write_baseline(again, read_baseline(baseline))
    assert again.read_bytes() == Path(baseline).read_bytes()


# the sample's own

def test_the_samples_baseline_is_what_the_command_writes(tmp_path, root):
    path = root / SAMPLE
    baseline = read_baseline(str(path))
    write_baseline(tmp_path / "again.json", baseline)
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert len(baseline.seeds) >= LEAST_SEEDS and baseline.about["data"] == "sample"
    assert {"commit", "versions", "machine"} <= set(baseline.about)


def test_no_honest_run_raises_an_alarm(root):
    baseline = read_baseline(str(root / SAMPLE))
    assert leave_one_out(baseline.rows).alarms.sum() == 0


def test_a_recipe_that_answers_by_chance_is_noticed(root):
    "Whatever the recipe: an alarm, if it had something to lose."
    rows = read_baseline(str(root / SAMPLE)).rows
    last = rows[rows.seed == rows.seed.max()]
    compared = compare_runs(last.assign(balanced_accuracy=1 / 7), rows)
    chance = compared[compared.metric == "balanced_accuracy"]
    sound = chance[chance.baseline > .5]
    assert len(sound) and (sound.verdict == "worse").all()
