"Run folders in a terminal, and what is kept of a run."
import json
import pytest
from skin_nb.core import write_json
from skin_nb.runs import runs_command, summarise_run

ROW = dict(recipe="tiny", network="None", task="ham10000", protocol="honest", split="lesion",
           fold=0, seed=0, balanced_accuracy=.6, lo=.5, hi=.7, accuracy=.7, seconds=3, rss_mb=40)


def write_run(folder, **parameters):
    "A run folder with one finished notebook."
    place = folder / "30_tiny"
    write_json(place / "metrics.json", dict(rows=[ROW]))
    record = dict(parameters=dict(data="sample", seed=0) | parameters, data="sample 1", seconds=60)
    for name in ("begun.json", "done.json"):
        write_json(place / name, record)
    write_json(place / "parameters.json", record["parameters"])
    return folder


def said(capsys, *arguments):
    code = runs_command([str(a) for a in arguments])
    answer = capsys.readouterr()
    return code, answer.out + answer.err


def test_what_is_said_of_a_run(tmp_path, capsys):
    write_run(tmp_path / "monday")
    (tmp_path / "notes").mkdir()
    code, text = said(capsys, tmp_path)
    assert code == 0 and text.startswith("monday") and "notes" not in text
    for part in ("1 of 1 notebooks  done", "data sample 1", "seed 0", "1 min", "40 MB",
                 "balanced accuracy 0.600 ± 0.100"):
        assert part in text


@pytest.mark.parametrize("damage", ["{", "[]", '{"parameters": 3, "environment": 4}'])
def test_a_damaged_record_stops_nobody(tmp_path, capsys, damage):
    run = write_run(tmp_path / "monday")
    for name in ("begun.json", "done.json", "metrics.json"):
        (run / "30_tiny" / name).write_text(damage)
    code, text = said(capsys, tmp_path)
    assert code == 0 and "monday" in text and "no scores" in text


def test_an_unfinished_run_is_called_that(tmp_path):
    run = write_run(tmp_path / "monday")
    (run / "30_tiny" / "done.json").unlink()
    assert summarise_run(run).state == "unfinished"
    write_json(run / ".skin_nb.holder.json", dict(pid=1))
    assert summarise_run(run).state == "running"


def test_what_differs_between_two(tmp_path, capsys):
    first = write_run(tmp_path / "a")
    second = write_run(tmp_path / "b", seed=7)
    rows = dict(rows=[dict(ROW, seed=7, accuracy=.75)])
    (second / "30_tiny" / "metrics.json").write_text(json.dumps(rows))
    code, text = said(capsys, first, second)
    assert code == 0 and "seed 0 -> 7  (in 30)" in text and "0.700 -> 0.750   +0.050" in text
