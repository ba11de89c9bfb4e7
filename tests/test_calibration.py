"Temperatures, prediction sets, silence and subgroups, each against an independent way."
import json

import numpy as np
import pandas as pd
import pytest

from skin_nb.beside import (
    describe_subgroups, patient_groups, plot_subgroups, subgroup_table)
from skin_nb.calibration import (
    carve_calibration, describe_coverage, describe_selective, risk_coverage, selective_table,
    set_table, temperature_table, write_calibration)
from skin_nb.certainty import (
    conformal_sets, conformal_threshold, fit_temperature, predict_sets, scale_predictions,
    scale_probabilities)
from skin_nb.core import DataError
from skin_nb.evaluation import evaluate, split_arrays
from skin_nb.predictions import invent_predictions
from skin_nb.tasks import HAM10000, MELANOMA, Task, task_in_group, task_of, with_task

FRUIT = Task("fruit", ("pear", "apple", "fig"))  # not in the order of the alphabet
MEL = HAM10000.classes.index("mel")
DF = HAM10000.classes.index("df")
MALIGNANT = [HAM10000.classes.index(c) for c in HAM10000.malignant]
SIZES = {"test": 500, "valid": 300, "calib": 600}


def invent_parts(task=HAM10000):
    "Predictions for a test, a validation and a calibration part."
    parts = [invent_predictions(n, seed=s, split=split, task=task)
             for s, (split, n) in enumerate(SIZES.items())]
    return with_task(pd.concat(parts, ignore_index=True), task)


@pytest.fixture(scope="module")
def predictions():
    return invent_parts()


def test_temperature_keeps_every_answer(predictions):
    scaled, found = scale_predictions(predictions)
    before = evaluate(predictions, n_boot=0)
    after = evaluate(scaled, n_boot=0)
    assert list(found) == [0] and found[0] < .9
    assert before["confusion"] == after["confusion"]
    assert after["ece"] < before["ece"] and after["brier"] < before["brier"]
    assert np.allclose(scaled[HAM10000.p_columns].sum(axis=1), 1)


def test_temperature_is_the_best_of_a_grid(predictions):
    y, p, _ = split_arrays(predictions, "valid")

    def loss(temperature):
        return -np.log(scale_probabilities(p, temperature)[np.arange(len(y)), y]).mean()

    assert loss(fit_temperature(y, p)) <= min(map(loss, np.geomspace(.1, 10, 200))) + 1e-9


def test_temperature_sees_its_own_fold_only(predictions):
    other = predictions.assign(fold=1)
    columns = HAM10000.p_columns
    other[columns] = scale_probabilities(predictions[columns].to_numpy(), 3.)
    _, found = scale_predictions(pd.concat([predictions, other], ignore_index=True))
    assert found[1] == pytest.approx(found[0] / 3, rel=1e-3)


def test_conformal_threshold_by_hand():
    scores = np.array([.7, .1, .4, .2, .6, .3, .5, .8, .15, .9, .25, .35])
    assert conformal_threshold(scores, .9) == .9  # rank 12 of 12: ⌈13 · .9⌉
    assert conformal_threshold(scores, .8) == .8  # rank 11: ⌈13 · .8⌉
    assert conformal_threshold(scores, .5) == .4  # rank 7: ⌈13 · .5⌉
    assert conformal_threshold(scores[:10], .9) == np.inf  # too few
    assert conformal_threshold(scores[:0], .5) == np.inf
    with pytest.raises(DataError, match="between 0 and 1"):
        conformal_threshold(scores, 1.)


def test_conformal_sets_by_hand():
    "Five rows of class 0, two of class 1; the ranks at level .7 are ⌈8 · .7⌉ and ⌈6 · .7⌉."
    y = np.array([0, 0, 0, 0, 0, 1, 1])
    of_zero = np.array([.9, .8, .7, .6, .5, .4, .2])  # the scores of class 1 are .4 and .2
    p = np.stack([of_zero, 1 - of_zero], 1)
    new = np.array([[.66, .34], [.55, .45], [.3, .7]])
    marginal = conformal_sets(y, p, new, .7)  # sixth of .1 .2 .2 .3 .4 .4 .5: .4
    assert marginal.tolist() == [[True, False], [False, False], [False, True]]
    by_class = conformal_sets(y, p, new, .7, by_class=True)  # fifth of class 0: .5
    assert by_class.tolist() == [[True, True], [True, True], [False, True]]


def threshold_by_numpy(scores, level):
    "The same order statistic as NumPy counts it."
    n = len(scores)
    return np.quantile(scores, np.ceil((n + 1) * level) / n, method="inverted_cdf")


def test_marginal_sets_are_an_order_statistic(predictions):
    y, p, _ = split_arrays(predictions, "calib")
    _, new, _ = split_arrays(predictions)
    for level in (.8, .9):
        threshold = threshold_by_numpy(1 - p[np.arange(len(y)), y], level)
        assert (conformal_sets(y, p, new, level) == (1 - new <= threshold)).all()


def test_class_conditional_sets(predictions):
    y, p, _ = split_arrays(predictions, "calib")
    _, new, _ = split_arrays(predictions)
    sets = conformal_sets(y, p, new, by_class=True)
    for k, c in enumerate(HAM10000.classes):
        scores = 1 - p[y == k, k]
        threshold = threshold_by_numpy(scores, .9) if len(scores) > 10 else 1
        assert (sets[:, k] == (1 - new[:, k] <= threshold)).all(), c
    some = conformal_sets(y[y != DF], p[y != DF], new, by_class=True)
    assert some[:, DF].all()  # a class never calibrated is in every set


def test_coverage_by_class_is_what_was_asked(predictions):
    calibration = predictions[predictions.split != "test"]
    many = pd.concat([calibration, invent_predictions(6000, seed=9)], ignore_index=True)
    plain = set_table(many, predict_sets(many), n_boot=20)
    by_class = set_table(many, predict_sets(many, by_class=True), n_boot=20)
    kinds = {"marginal": plain, "class-conditional": by_class}
    named = pd.concat([t.assign(sets=kind) for kind, t in kinds.items()])
    assert "melanoma in" in describe_coverage(named.assign(network="n", level=.9))

    plain, by_class = (t.set_index("class") for t in (plain, by_class))
    assert abs(plain.coverage["all"] - .9) < .03 and abs(by_class.coverage["nv"] - .9) < .04
    assert plain.coverage["vasc"] < .8 and by_class.coverage["vasc"] > .85
    assert by_class["size"]["all"] > plain["size"]["all"]
    assert (plain.lo <= plain.coverage).all() and (plain.coverage <= plain.hi).all()


def test_risk_coverage(predictions):
    y, p, _ = split_arrays(predictions)
    right = p.argmax(1) == y
    t = risk_coverage(y, p)
    assert t.risk.iloc[-1] == pytest.approx(1 - right.mean()) and t.coverage.iloc[-1] == 1
    certain = np.where(right[:, None], np.eye(7)[p.argmax(1)], p)  # confident where right
    assert risk_coverage(y, certain).risk.mean() < t.risk.mean()

    s = selective_table(predictions, n_boot=20)
    assert "every fifth case" in describe_selective(s.assign(network="n"))
    s = s.set_index("answered")
    half = t.risk[(t.coverage - .5).abs().argmin()]
    assert s.accuracy[1.] == pytest.approx(right.mean()) and s.mel_passed_on[1.] == 0
    assert s.accuracy[.5] == pytest.approx(1 - half, abs=.01)
    assert s.mel_missed[1.] == pytest.approx(1 - right[y == MEL].mean())


def test_subgroups(predictions):
    few_or_many = np.where(np.arange(len(predictions)) % 5, "many", "few")
    groups = pd.Series(few_or_many, predictions.image_id)
    t = subgroup_table(predictions, groups, n_boot=50).set_index("group")
    y, p, _ = split_arrays(predictions)
    predicted = p.argmax(1)
    right = predicted == y
    few = groups[predictions.image_id[predictions.split == "test"]].to_numpy() == "few"
    assert t.images.tolist() == [len(y), few.sum(), (~few).sum()]
    assert t.accuracy["all"] == pytest.approx(right.mean())
    assert t.accuracy["few"] == pytest.approx(right[few].mean())
    assert t.mel_recall["few"] == pytest.approx(right[few & (y == MEL)].mean())
    assert (t.mel_recall_lo <= t.mel_recall).all() and (t.mel_recall <= t.mel_recall_hi).all()
    sick = np.isin(y, MALIGNANT)
    found = np.isin(predicted, MALIGNANT)[sick].mean()
    assert t.malignant_recall["all"] == pytest.approx(found)


def test_a_group_without_melanomas_has_no_melanoma_recall(predictions):
    moles = predictions.dx == "nv"
    groups = pd.Series(np.where(moles, "moles", "others"), predictions.image_id)
    t = subgroup_table(predictions, groups, n_boot=20).set_index("group")
    assert t.mel_lesions["moles"] == 0
    assert t.loc["moles", ["mel_recall", "mel_recall_lo", "mel_recall_hi"]].isna().all()


@pytest.mark.parametrize("task", [MELANOMA, FRUIT, task_in_group(MELANOMA, "patient_id")])
def test_any_set_of_classes(task):
    predictions = invent_parts(task)
    scaled, _ = scale_predictions(predictions)
    before, after = (split_arrays(t)[1] for t in (predictions, scaled))
    assert task_of(scaled) == task and (before.argmax(1) == after.argmax(1)).all()
    accuracy = temperature_table(predictions, n_boot=20).accuracy
    assert accuracy[0] == accuracy[1] == pytest.approx(evaluate(predictions, n_boot=0)["accuracy"])
    for by_class in (False, True):
        held = set_table(scaled, predict_sets(scaled, .9, by_class), n_boot=20)
        assert list(held["class"]) == ["all", *task.classes]
        assert held.coverage.min() > .8

    melanoma = "mel" in task.classes
    silent = selective_table(scaled, n_boot=20)
    assert ("mel_missed" in silent) == melanoma
    assert ("melanomas" in describe_selective(silent.assign(network="n"))) == melanoma
    groups = pd.Series(np.where(np.arange(len(scaled)) % 2, "odd", "even"), scaled.image_id)
    t = subgroup_table(scaled, groups, n_boot=20).assign(network="n", column="number")
    assert ("mel_recall" in t) == ("malignant_recall" in t) == melanoma
    assert f"{task.group_name}s" in t
    text = describe_subgroups(t)
    question = "melanomas found" if melanoma else "right answers"
    assert question in text and f"{task.group_name}s" in text
    assert plot_subgroups(t).get_yticklabels()


def group_row(group, n, value):
    return dict(network="n", column="age", group=group, mel_lesions=n, lesions=n, mel_recall=value,
                mel_recall_lo=value - .05, mel_recall_hi=value + .05)


def test_sentences_name_small_and_different_groups():
    rows = [group_row("all", 100, .6), group_row("young", 5, .2), group_row("old", 60, .7),
            group_row("middle", 35, .58)]
    text = describe_subgroups(pd.DataFrame(rows))
    assert "Too small to judge (fewer than 20 melanoma lesions): young." in text
    assert "has old 0.70" in text and "middle 0.58" not in text
    few = describe_subgroups(pd.DataFrame([group_row("all", 10, .6), group_row("young", 5, .2)]))
    assert "No group can be judged." in few


def test_gaps_are_a_group_of_their_own():
    cells = dict(image_id=["a", "b"], sex=["male", "unknown"], age=[np.nan, 44.],
                 localization=["back", "unknown"])
    t = patient_groups(pd.DataFrame(cells))
    assert t.loc["a"].tolist() == ["male", "unknown", "back"]
    assert t.loc["b"].tolist() == ["unknown", "41-60", "unknown"]
    assert list(patient_groups(pd.DataFrame(dict(image_id=["a"], sex=["male"])))) == ["sex"]


@pytest.mark.parametrize("group", ["lesion_id", "patient_id"])
def test_calibration_part_shares_no_group(group):
    ids = np.random.default_rng(0).integers(0, 300, 600)
    split = np.select([ids % 10 < 7, ids % 10 == 7], ["train", "valid"], "test")
    dx = np.array(HAM10000.classes)[ids % 7]
    parts = pd.DataFrame({group: ids, "dx": dx, "split": split})
    held = carve_calibration(with_task(parts, task_in_group(HAM10000, group)))
    kept = parts.split != "train"
    calib = held.split == "calib"
    assert held.groupby(group).split.nunique().max() == 1
    assert (held.split[kept] == parts.split[kept]).all()
    assert .1 < calib.sum() / (~kept).sum() < .25
    assert set(held.dx[calib]) == set(HAM10000.classes)


def test_tables_are_written(tmp_path):
    t = pd.DataFrame(dict(a=[1., np.nan], b=["x", "y"]))
    written = write_calibration({"coverage": t}, tmp_path)
    assert [f.name for f in written] == ["coverage.csv", "metrics.json"]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["calibration"]["coverage"][1]["a"] is None
    assert pd.read_csv(tmp_path / "coverage.csv").equals(t)
