"""What a search promises: it can be killed and shared, it repeats itself, and no test row takes
part."""
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from skin_nb.batches import Views
from skin_nb.core import DataError
from skin_nb.experiment import load_data
from skin_nb.preparation import split_by_lesion
from skin_nb.recipe import Rows, Stage, honest_recipe
from skin_nb.tuning import (
    HEAD_SPACE, Range, count_finished, fit_features, head_score, inner_split, open_study, run_study)

BASE = honest_recipe("default", "SampleNet", 64)
SPACE = {name: HEAD_SPACE[name] for name in
         ("stages.0.learning_rate", "head.dropout", "head.dense")}
CHOSEN = ["score", *SPACE]


def pretended(recipe, fold):
    "Known without a training: one learning rate is best, and folds differ."
    away = np.log10(recipe.stages[0].learning_rate / 1e-3)
    return .7 - .1 * away**2 - .1 * recipe.head.dropout + .01 * fold


def search(path, trials, **settings):
    return run_study(pretended, BASE, path, SPACE, trials=trials, **settings)


def test_same_seed_same_trials(tmp_path):
    a, b, c = [search(tmp_path / f"{k}.sqlite", 12, seed=k // 2) for k in range(3)]
    pd.testing.assert_frame_equal(a[CHOSEN], b[CHOSEN])
    assert not a[CHOSEN].equals(c[CHOSEN])


def test_pruned_trials_stay_in_the_table(tmp_path):
    found = search(tmp_path / "study.sqlite", 25)
    pruned = found[found.state == "pruned"]
    assert len(pruned) and len(found) == 25
    assert pruned.fold_1.notna().all() and pruned.fold_3.isna().all()
    assert found[found.state == "complete"].fold_3.notna().all()


@pytest.mark.parametrize("at", [1, 2, 17])
def test_goes_on_where_it_was_killed(tmp_path, at):
    "The finished trials are those of an undisturbed search, none of them twice."
    calls = []

    def power_cut(recipe, fold):
        calls.append(fold)
        if len(calls) == at:
            raise KeyboardInterrupt
        return pretended(recipe, fold)

    with pytest.raises(KeyboardInterrupt):
        run_study(power_cut, BASE, tmp_path / "killed.sqlite", SPACE, trials=12)
    found = search(tmp_path / "killed.sqlite", 12)
    assert (found.state == "killed").sum() == 1
    finished = found[found.state != "killed"].reset_index(drop=True)
    pd.testing.assert_frame_equal(finished[CHOSEN], search(tmp_path / "whole.sqlite", 12)[CHOSEN])
    assert not finished.duplicated(list(SPACE)).any()


def test_two_workers_share_a_study(tmp_path):
    path = tmp_path / "study.sqlite"
    errors = []

    def slow(recipe, fold):
        time.sleep(.02)
        return pretended(recipe, fold)

    def work(worker):
        try:
            run_study(slow, BASE, path, SPACE, trials=16, worker=worker)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=[k]) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = search(path, 0)
    assert set(found.worker) == {0, 1}
    assert 16 <= len(found) <= 17 and not found.duplicated(list(SPACE)).any()


def test_a_workers_trial_is_not_buried_by_another(tmp_path):
    path = tmp_path / "study.sqlite"
    seen = []

    def looks_aside(recipe, fold):
        if not seen:
            seen.append(search(path, 1, worker=1))
        return pretended(recipe, fold)

    found = run_study(looks_aside, BASE, path, SPACE, trials=3)
    assert "running" in set(seen[0].state)
    assert "killed" not in set(found.state)


def test_other_rows_are_another_study(tmp_path):
    path = tmp_path / "study.sqlite"
    search(path, 3, key="fold 0")
    assert count_finished(open_study(path, BASE, SPACE, "fold 1")) == 0
    assert count_finished(open_study(path, BASE, SPACE, "fold 0")) == 3


def test_time_is_up(tmp_path):
    assert set(search(tmp_path / "study.sqlite", 5, minutes=1e-9).state) <= {"waiting"}


@pytest.mark.parametrize("space, found", [
    ({"head.droput": Range(0, 1)}, "head.droput"),
    ({"stages.3.epochs": Range(1, 9, whole=True)}, "stages.3.epochs")])
def test_a_space_that_fits_no_recipe(tmp_path, space, found):
    with pytest.raises(DataError, match=found):
        run_study(pretended, BASE, tmp_path / "study.sqlite", space, trials=1)
    assert not (tmp_path / "study.sqlite").exists()


def test_no_test_row_takes_part():
    "Poison in the test part, diagnoses and features, changes no score of a search."
    parts = split_by_lesion(load_data())
    rng = np.random.default_rng(0)
    y = parts.dx.astype("category").cat.codes.to_numpy()
    x = (rng.normal(0, 1, (len(parts), 8)) + y[:, None] * np.eye(8)[0]).astype("float32")
    tested = (parts.split == "test").to_numpy()
    recipe = replace(BASE, views=Views(), stages=(Stage(2, 1e-2),), rows=Rows(batch=64))
    clean = head_score(parts, {Views(): [x]}, recipe, 0)
    spoilt = np.where(tested[:, None], np.nan, x).astype("float32")
    poisoned = parts.assign(dx=np.where(tested, "poison", parts.dx))
    assert head_score(poisoned, {Views(): [spoilt]}, recipe, 0) == clean
    _, rows = fit_features(recipe, inner_split(parts, 0), {Views(): [x]})
    assert not tested[rows].any()


WORKER = """
import os
import signal
import sys
from skin_nb.tuning import run_study
from test_tuning import BASE, SPACE, pretended
calls = []
def score(recipe, fold):
    calls.append(fold)
    if len(calls) == 20: os.kill(os.getpid(), signal.SIGKILL)
    return pretended(recipe, fold)
run_study(score, BASE, sys.argv[1], SPACE, trials=20)
"""


@pytest.mark.slow
def test_killed_for_good(tmp_path):
    "A process that gets no chance to tidy up."
    command = [sys.executable, "-c", WORKER, str(tmp_path / "killed.sqlite")]
    assert subprocess.run(command, cwd=Path(__file__).parent).returncode == -9
    found = search(tmp_path / "killed.sqlite", 20)
    assert (found.state == "killed").sum() == 1
    finished = found[found.state != "killed"].reset_index(drop=True)
    pd.testing.assert_frame_equal(finished[CHOSEN], search(tmp_path / "whole.sqlite", 20)[CHOSEN])
