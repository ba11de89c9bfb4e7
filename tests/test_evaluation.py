"Scores against scikit-learn, the challenge's scorer and a slow loop; the evaluate command."
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import metrics as skm

from skin_nb.core import DataError
from skin_nb.evaluate_command import evaluate_command
from skin_nb.evaluation import (
    CLASS_SCORES, SUBMISSION_COLUMNS, alarm_scores, average_lesions, bootstrap_scores,
    bootstrap_weights, brier_score, calibration_error, choose_alarm, choose_alarms, class_report,
    compare_published, disease_score, diseases, evaluate, melanoma_class, paired_difference,
    ranking_scores, score_table, sensitive_threshold, specific_threshold, split_arrays,
    weighted_scores, write_submission)
from skin_nb.predictions import (
    check_predictions, find_prediction_problems, invent_predictions, prediction_columns,
    predictions_table, read_predictions, write_predictions)
from skin_nb.tasks import (
    HAM10000, ISIC2019, MELANOMA, Task, as_melanoma, task_in_group, task_of, with_task)

CLASSES = HAM10000.classes
P_COLUMNS = HAM10000.p_columns
COLUMNS = prediction_columns(HAM10000)
PETS = Task("pets", ("cat", "cow", "dog"), group="patient_id")  # no disease, no lesions
GROWTHS = Task("growths", ("mole", "wart", "melanoma"), malignant=("melanoma",))
TWO = Task("two", ("no", "yes"))


@pytest.fixture(scope="module")
def predictions():
    parts = [invent_predictions(300), invent_predictions(200, seed=1, split="valid")]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def melanoma(predictions):
    "The same predictions, asked for melanoma against the rest."
    return predictions_table(as_melanoma(predictions), predictions.p_mel)


@pytest.fixture(scope="module")
def arrays(predictions):
    return split_arrays(predictions)


@pytest.fixture(scope="module")
def metrics(predictions):
    return evaluate(predictions, n_boot=200)


def refused(call, *texts):
    with pytest.raises(DataError) as e:
        call()
    for text in texts:
        assert text in str(e.value)
    assert all(p.fix and p.expected for p in e.value.problems)


def only(predictions, p_column):
    "The same rows, all predicted as one class."
    columns = task_of(predictions).p_columns
    return predictions.assign(**{c: float(c == p_column) for c in columns})


def perfect_model(predictions):
    columns = task_of(predictions).p_columns
    truth = {c: (predictions.dx == c.removeprefix("p_")).astype(float) for c in columns}
    return predictions.assign(**truth)


# values


def test_whole_scores_are_those_of_scikit_learn(arrays, metrics):
    y, p, _ = arrays
    guess = p.argmax(1)
    hot = np.eye(7)[y]
    expected = dict(
        balanced_accuracy=skm.balanced_accuracy_score(y, guess),
        accuracy=skm.accuracy_score(y, guess),
        macro_f1=skm.f1_score(y, guess, average="macro"),
        weighted_f1=skm.f1_score(y, guess, average="weighted"),
        auc=skm.roc_auc_score(y, p, multi_class="ovr"),
        average_precision=skm.average_precision_score(hot, p, average="macro"),
        brier=((p - hot) ** 2).sum(1).mean(),
        mel_sensitivity=(guess[y == 4] == 4).mean())
    assert {k: metrics[k] for k in expected} == pytest.approx(expected, abs=1e-12)
    assert metrics["constant_accuracy"] == (y == 5).mean()
    assert metrics["constant_class"] == "nv"


def test_class_scores_are_those_of_scikit_learn(arrays, metrics):
    y, p, _ = arrays
    guess = p.argmax(1)
    precision, recall, f1, support = skm.precision_recall_fscore_support(
        y, guess, labels=range(7), zero_division=0)
    for k, c in enumerate(CLASSES):
        expected = dict(
            precision=precision[k], recall=recall[k], f1=f1[k], support=support[k],
            auc=skm.roc_auc_score(y == k, p[:, k]),
            average_precision=skm.average_precision_score(y == k, p[:, k]))
        assert metrics["per_class"][c] == pytest.approx(expected, abs=1e-12)
    assert np.array_equal(metrics["confusion"], skm.confusion_matrix(y, guess, labels=range(7)))


def test_malignant_against_benign(predictions, arrays, metrics):
    _, p, _ = arrays
    sick = predictions.query("split == 'test'").dx.isin(HAM10000.malignant)
    score = p[:, [0, 1, 4]].sum(1)
    expected = dict(
        malignant_auc=skm.roc_auc_score(sick, score),
        malignant_average_precision=skm.average_precision_score(sick, score),
        malignant_sensitivity=(score[sick] > .5).mean(),
        malignant_specificity=(score[~sick] <= .5).mean())
    assert {k: metrics[k] for k in expected} == pytest.approx(expected, abs=1e-12)


def test_ranking_with_ties_and_weights(arrays):
    y, p, lesion = arrays
    tied = p.round(1)
    w = next(bootstrap_weights(lesion, 5, seed=3))
    for k in 2, 4, 5:
        for ours, theirs in zip(ranking_scores(y == k, tied[:, k], w),
                                (skm.roc_auc_score, skm.average_precision_score)):
            expected = [theirs(y == k, tied[:, k], sample_weight=v) for v in w.T]
            assert ours == pytest.approx(expected, abs=1e-12)


def test_ranking_without_a_side(arrays):
    y, p, _ = arrays
    once = np.ones((len(y), 1))
    for side in y > 9, y < 9:
        assert all(np.isnan(s).all() for s in ranking_scores(side, p[:, 0], once))


def test_calibration_error_by_hand():
    p = np.full((4, 7), .1 / 6)
    p[:, 5] = .9
    assert calibration_error(np.array([5, 5, 5, 0]), p) == pytest.approx(.9 - .75)
    p[2:] = .06 / 6
    p[2:, 4] = .94  # another bin of 15, the same of 10
    y = np.array([5, 5, 0, 0])
    weights = np.array([[1, 1, 0, 0], [0, 0, 1, 1]]).T
    assert calibration_error(y, p) == pytest.approx((.1 + .94) / 2)
    assert calibration_error(y, p, bins=10) == pytest.approx(.92 - .5)
    assert calibration_error(y, p, weights=weights) == pytest.approx([.1, .94])


def test_brier_by_hand():
    p = np.eye(7)[[0, 1]]
    y = np.array([0, 0])
    assert brier_score(y, p) == 1
    assert brier_score(y, p, np.array([[1.], [3.]])) == pytest.approx([1.5])
    assert brier_score(y, np.array([[.8, .2], [.5, .5]])) == pytest.approx((.08 + .5) / 2)


def test_extremes(predictions):
    constant = evaluate(only(predictions, "p_nv"), n_boot=10)
    found = [constant["accuracy"], constant["balanced_accuracy"], constant["auc"]]
    assert found == pytest.approx([constant["constant_accuracy"], 1 / 7, .5])
    perfect = evaluate(perfect_model(predictions), n_boot=10)
    ones = ("accuracy", "lo", "hi", "auc", "average_precision", "mel_sensitivity_at_95",
            "malignant_specificity_at_95")
    assert [perfect[k] for k in ones] == [1.] * 7
    assert perfect["brier"] == perfect["ece"] == 0


def test_missing_class(predictions, arrays):
    some = evaluate(predictions[predictions.dx != "df"], n_boot=20)
    y, p, _ = arrays
    guess = p.argmax(1)[y != 3]
    y = y[y != 3]
    recalls = [(guess[y == k] == k).mean() for k in np.unique(y)]
    assert some["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert some["auc"] is some["average_precision"] is some["per_class"]["df"]["recall"] is None
    assert some["intervals"]["auc"] is some["intervals"]["df.recall"] is None
    for c in "mel", "nv":
        json.dumps(evaluate(predictions[predictions.dx == c], n_boot=10), allow_nan=False)
    healthy = evaluate(predictions[predictions.dx != "mel"], n_boot=0)
    assert healthy["mel_sensitivity_at_95"] is None


def test_metrics_are_plain(metrics):
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    table = score_table(metrics)
    assert table.index[0] == "balanced_accuracy" and table.value.notna().all()
    assert set(table.index) <= set(metrics["intervals"])


def test_class_report(arrays, predictions):
    y, p, _ = arrays
    guess = p.argmax(1)
    report = class_report(predictions)
    expected = skm.classification_report(y, guess, target_names=CLASSES, output_dict=True)
    names = {"mel": "mel", "macro average": "macro avg", "weighted average": "weighted avg"}
    for ours, theirs in names.items():
        found = report.loc[ours, ["precision", "recall", "f1"]].tolist()
        wanted = [expected[theirs][k] for k in ("precision", "recall", "f1-score")]
        assert found == pytest.approx(wanted)
    counts = np.bincount(guess, minlength=7)
    assert report.predicted.tolist() == [*counts, len(y), len(y)]


# tasks


def test_two_classes_are_scored_by_the_positive_one(melanoma, predictions, metrics):
    of_two = evaluate(melanoma, n_boot=50)
    y, p, _ = split_arrays(melanoma)
    assert of_two["task"] == "melanoma" and of_two["metric"] == "auc"
    assert of_two["auc"] == pytest.approx(skm.roc_auc_score(y, p[:, 1]))
    assert of_two["average_precision"] == pytest.approx(skm.average_precision_score(y, p[:, 1]))
    assert [of_two["lo"], of_two["hi"]] == of_two["intervals"]["auc"]
    assert score_table(of_two).index[0] == "auc"
    guess = p[:, 1] > .5
    assert of_two["per_class"]["mel"]["recall"] == guess[y == 1].mean()
    assert of_two["per_class"]["other"]["recall"] == 1 - guess[y == 0].mean()
    # thresholds see the probability of melanoma only, and that is the same
    for name in "mel_sensitivity_at_95", "mel_specificity_at_90":
        assert of_two[name] == metrics[name]
    assert evaluate(only(melanoma, "p_mel"), n_boot=10)["auc"] == .5


def test_two_classes_in_a_part_with_one(melanoma):
    for c in MELANOMA.classes:
        one = evaluate(melanoma[melanoma.dx == c], n_boot=10)
        assert one["auc"] is one["average_precision"] is one["lo"] is None
        json.dumps(one, allow_nan=False)


def test_scores_of_diseases_exist_where_the_task_has_them():
    pets = evaluate(invent_predictions(80, task=PETS), n_boot=10)
    assert pets["alarms"] == {} and not [k for k in pets if k.startswith(("mel_", "malig"))]
    growths = evaluate(invent_predictions(80, task=GROWTHS), n_boot=10)
    assert growths["mel_sensitivity"] == growths["per_class"]["melanoma"]["recall"]
    assert {"mel_sensitivity_at_95", "malignant_auc", "malignant_sensitivity"} <= set(growths)
    eight = evaluate(invent_predictions(300, task=ISIC2019), n_boot=10)
    assert len(eight["confusion"]) == 8 and eight["malignant_auc"] is not None
    assert diseases(Task("ill", ("bcc", "scc"), malignant=("bcc", "scc"))) == {}
    assert melanoma_class(TWO) is None


def test_patients_are_drawn_and_counted():
    invented = invent_predictions(80, task=PETS)
    found = evaluate(invented, n_boot=30)
    assert found["n_patients"] == 80 and "n_lesions" not in found
    by_lesion = with_task(invented.rename(columns=dict(patient_id="lesion_id")),
                          task_in_group(PETS, "lesion_id"))
    assert evaluate(by_lesion, n_boot=30)["intervals"] == found["intervals"]
    mean = average_lesions(invented)
    assert list(mean) == prediction_columns(PETS) and len(mean) == 80
    assert task_of(mean) == PETS
    assert paired_difference(invented, mean, n_boot=5)["n_patients"] == 80


def test_disease_score(arrays):
    y, p, _ = arrays
    sick, score = disease_score(y, p, HAM10000, "bcc")  # a class is a disease of its own
    assert np.array_equal(sick, y == 1) and np.array_equal(score, p[:, 1])
    refused(lambda: disease_score(y, p, HAM10000, "flu"), "'flu'", "mel, nv")


def test_tasks_in_files(melanoma, predictions, tmp_path):
    melanoma[melanoma.columns[::-1]].to_csv(tmp_path / "reversed.csv", index=False)
    back = read_predictions(tmp_path / "reversed.csv")
    assert task_of(back) == MELANOMA and evaluate(back, n_boot=5) == evaluate(melanoma, n_boot=5)
    pets = invent_predictions(20, task=PETS)
    path = write_predictions(tmp_path / "pets.csv", pets)
    assert read_predictions(path, PETS).equals(pets)
    assert task_of(read_predictions(path, PETS)) == PETS
    unnamed = task_of(read_predictions(path))
    assert (unnamed.classes, unnamed.group) == (PETS.classes, PETS.group)
    refused(lambda: read_predictions(path, HAM10000), "pets.csv", "no column lesion_id, p_akiec")


def test_a_single_column_of_two_classes():
    table = with_task(pd.DataFrame(dict(
        image_id=["a", "b"], lesion_id=["1", "2"], dx=["no", "yes"], split="test", fold=0)), TWO)
    positive = np.array([.25, .875], "float32")
    by_row = predictions_table(table, positive)
    assert by_row.p_yes.tolist() == [.25, .875] and by_row.p_no.tolist() == [.75, .125]
    assert predictions_table(table, positive[:, None]).equals(by_row)
    assert predictions_table(table, np.c_[1 - positive, positive]).equals(by_row)
    refused(lambda: predictions_table(table, np.ones((2, 3)) / 3), "shape (2, 3)")
    one_class = with_task(table.assign(dx="cat"), PETS).rename(columns=dict(lesion_id="patient_id"))
    refused(lambda: predictions_table(one_class, positive), "shape (2,)")


def test_a_table_without_a_task():
    refused(lambda: check_predictions(pd.DataFrame(dict(dx=["nv"])), "x.csv"), "x.csv", "p_<class>")


# thresholds


@pytest.mark.parametrize("n", [7, 40, 201])
@pytest.mark.parametrize("share", [.9, .95, 1.])
def test_thresholds_are_the_best_that_keep_what_is_asked(n, share):
    rng = np.random.default_rng(0)
    sick = np.arange(n) % 3 == 0
    score = rng.integers(0, 30, n) / 30
    high = specific_threshold(sick, score, share)
    low = sensitive_threshold(sick, score, share)
    assert (score[~sick] <= high).mean() >= share
    assert (score[sick] > low).mean() >= share
    for s in np.unique(score):
        assert s >= high or (score[~sick] <= s).mean() < share
        assert s <= low or (score[sick] > s).mean() < share


def test_thresholds_without_a_side():
    assert np.isnan(specific_threshold(np.ones(3, bool), np.ones(3)))
    assert np.isnan(sensitive_threshold(np.zeros(3, bool), np.ones(3)))


def test_thresholds_come_from_the_validation_part_of_the_same_fold(predictions):
    other = predictions.assign(fold=1, image_id=predictions.image_id + "b")
    valid = other.split == "valid"
    other.loc[valid, P_COLUMNS] = other.loc[valid, P_COLUMNS].to_numpy()[::-1]
    alarm = choose_alarm(pd.concat([predictions, other], ignore_index=True))
    alone = choose_alarm(predictions)
    assert alarm.chosen_on == "valid"
    assert alarm.thresholds[0] == alone.thresholds[0] != alarm.thresholds[1]
    n = (predictions.split == "test").sum()
    assert np.array_equal(alarm.on[:n], alone.on)


def test_the_judged_rows_have_no_say(predictions):
    changed = predictions.copy()
    changed.loc[changed.split == "test", P_COLUMNS] = 1 / 7
    assert choose_alarm(changed).thresholds == choose_alarm(predictions).thresholds
    judged = evaluate(predictions[predictions.split == "test"], n_boot=0)
    assert judged["alarms"]["mel_sensitivity_at_95"]["chosen_on"] == "test"


def test_alarms_of_weighted_rows(predictions, arrays):
    y, p, _ = arrays
    alarms = choose_alarms(predictions)
    once = alarm_scores(alarms)
    assert list(once) == list(alarms) and alarm_scores({}) == {}
    alarm = alarms["mel_sensitivity_at_95"]
    assert np.array_equal(alarm.sick, y == 4)
    assert once["mel_sensitivity_at_95"] == pytest.approx(alarm.on[y == 4].mean())
    half = (y == 4) & (np.arange(len(y)) % 2 == 0)
    two = alarm_scores(alarms, np.c_[np.ones(len(y)), half])
    assert two["mel_sensitivity_at_95"][1] == pytest.approx(alarm.on[half].mean())
    assert np.isnan(two["mel_specificity_at_95"][1])
    assert all(two[name][0] == once[name][0] for name in alarms)


# resampling


def slow_scores(y, p):
    guess = p.argmax(1)
    known = np.unique(y)
    return dict(
        balanced_accuracy=skm.recall_score(y, guess, labels=known, average="macro"),
        brier=brier_score(y, p),
        ece=calibration_error(y, p),
        auc=np.mean([skm.roc_auc_score(y == k, p[:, k]) for k in known]),
        average_precision=np.mean([skm.average_precision_score(y == k, p[:, k]) for k in known]),
        **{"bkl.f1": skm.f1_score(y, guess, labels=[2], average=None)[0],
           "nv.precision": skm.precision_score(y, guess, labels=[5], average=None)[0]})


def test_bootstrap_equals_a_slow_loop(arrays):
    y, p, lesion = arrays
    rows = []
    for w in next(bootstrap_weights(lesion, 12, seed=7)).T:
        drawn = np.repeat(np.arange(len(y)), w.astype(int))
        rows.append(slow_scores(y[drawn], p[drawn]))
    expected = pd.DataFrame(rows)
    found = bootstrap_scores(lambda w: weighted_scores(y, p, w, HAM10000), lesion, 12, seed=7)
    for name in expected:
        assert found[name] == pytest.approx(expected[name].to_numpy(), abs=1e-12), name


def test_lesions_are_drawn_whole():
    group = np.repeat(["a", "b", "c", "d"], [1, 2, 3, 4])
    w = np.concatenate(list(bootstrap_weights(group, 2000)), 1)
    assert (w[1] == w[2]).all() and (w[6:] == w[6]).all()
    assert (w[[0, 1, 3, 6]].sum(0) == 4).all() and abs(w.mean() - 1) < .05


def test_blocks_change_nothing():
    small = np.arange(4)
    many = np.repeat(small, 200_000)  # gives blocks of one column
    by_column = np.concatenate(list(bootstrap_weights(many, 5)), 1)
    assert np.array_equal(next(bootstrap_weights(small, 5)), by_column[::200_000])


def test_seed(predictions, metrics):
    assert evaluate(predictions, n_boot=200) == metrics
    assert evaluate(predictions, n_boot=200, seed=1)["intervals"] != metrics["intervals"]
    assert evaluate(predictions, n_boot=0)["intervals"] == {}


def test_intervals_hold_their_values(metrics):
    values = {k: v for k, v in metrics.items() if k in metrics["intervals"]}
    for c, row in metrics["per_class"].items():
        values.update({f"{c}.{name}": row[name] for name in CLASS_SCORES})
    assert set(values) == set(metrics["intervals"])
    for name, (lo, hi) in metrics["intervals"].items():
        assert lo <= values[name] <= hi, name


# two models


def test_paired_difference(predictions, metrics):
    worse = predictions.copy()
    first = worse.index[:60]
    worse.loc[first, P_COLUMNS] = worse.loc[first, P_COLUMNS].to_numpy()[::-1]
    d = paired_difference(predictions, worse, "auc", n_boot=100)
    assert d["a"] == metrics["auc"] and d["lo"] < d["difference"] < d["hi"]
    apart = metrics["auc"] - evaluate(worse, n_boot=0)["auc"]
    assert d["difference"] == pytest.approx(apart)
    back = paired_difference(worse, predictions, "auc", n_boot=100)
    assert [back["lo"], back["hi"]] == pytest.approx([-d["hi"], -d["lo"]])
    same = paired_difference(predictions, predictions, "mel.recall", n_boot=20)
    assert [same[k] for k in ("difference", "lo", "hi")] == [0.] * 3


def test_paired_difference_needs_the_same_lesions(predictions, melanoma):
    fewer = predictions[predictions.lesion_id != "test_00003"]
    refused(lambda: paired_difference(predictions, fewer), "such as test_00003")
    refused(lambda: paired_difference(predictions, predictions, "acuracy"), "acuracy",
            "one of balanced_accuracy")
    refused(lambda: paired_difference(predictions, melanoma), "the classes other, mel")
    one_image = average_lesions(predictions)  # other rows of the same lesions are fine
    assert paired_difference(predictions, one_image, n_boot=10)["n_lesions"] == 300


def test_published_scores(metrics, melanoma):
    table = compare_published(metrics, {"mel.recall": .5, "split": "lesion"}, split="lesion")
    assert table.loc["mel.recall", "ours"] == metrics["per_class"]["mel"]["recall"]
    assert table.published_split.tolist() == table.our_split.tolist() == ["lesion"]
    of_two = evaluate(melanoma, n_boot=0)
    assert compare_published(of_two, {"auc": .9})[["lo", "hi"]].isna().all(axis=None)
    with pytest.raises(ValueError, match="no score nv.recall"):
        compare_published(of_two, {"nv.recall": .9})


# lesions, files


def test_average_lesions(predictions):
    by_lesion = check_predictions(average_lesions(predictions))
    assert list(by_lesion) == COLUMNS and len(by_lesion) == 500
    several = predictions.lesion_id.value_counts().idxmax()
    mean = predictions.loc[predictions.lesion_id == several, P_COLUMNS].mean()
    found = by_lesion.set_index("lesion_id").loc[several, P_COLUMNS]
    assert found.tolist() == pytest.approx(mean.tolist())
    refused(lambda: average_lesions(predictions.assign(lesion_id="one")),
            "different classes for lesion one")


def test_submission(predictions, melanoma, tmp_path):
    shuffled = predictions[COLUMNS[:3] + P_COLUMNS[::-1] + COLUMNS[-2:]]
    t = pd.read_csv(write_submission(shuffled, tmp_path / "s.csv"))
    assert list(t) == ["image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    test = predictions[predictions.split == "test"]
    assert t.image.tolist() == test.image_id.tolist()
    assert all((t[c] == test[f"p_{c.lower()}"]).all() for c in SUBMISSION_COLUMNS)
    never = tmp_path / "no.csv"
    twice = pd.concat([predictions, predictions.assign(fold=1)])
    refused(lambda: write_submission(predictions, never, "train"), "no rows")
    refused(lambda: write_submission(twice, never), "images more than once")
    refused(lambda: write_submission(melanoma, never), "the classes other, mel")
    assert not never.exists()


def test_challenge_scorer_agrees(predictions, metrics, tmp_path, monkeypatch):
    scoring = pytest.importorskip("isic_challenge_scoring.classification",
                                  reason="isic-challenge-scoring isn't there (extra: challenge)")
    if not hasattr(pd.DataFrame, "applymap"):
        # pandas 3 dropped the name that the scorer uses
        monkeypatch.setattr(pd.DataFrame, "applymap", pd.DataFrame.map, raising=False)
    test = predictions[predictions.split == "test"]
    truth = pd.DataFrame({"image": test.image_id})
    for c in SUBMISSION_COLUMNS:
        truth[c] = (test.dx == c.lower()).astype(float)
    truth.to_csv(tmp_path / "truth.csv", index=False)
    score = scoring.ClassificationScore.from_file(
        tmp_path / "truth.csv", write_submission(predictions, tmp_path / "s.csv"),
        scoring.ClassificationMetric.BALANCED_ACCURACY)
    assert score.overall == pytest.approx(metrics["balanced_accuracy"], abs=1e-12)
    ours = [metrics["auc"], metrics["average_precision"]]
    assert score.macro_average[["auc", "ap"]].tolist() == pytest.approx(ours, abs=1e-12)
    for c in CLASSES:
        ours = [metrics["per_class"][c][k] for k in ("auc", "average_precision")]
        theirs = score.per_category.loc[c.upper(), ["auc", "ap"]].tolist()
        assert theirs == pytest.approx(ours, abs=1e-12)


BROKEN = {
    "text": (dict(p_df="x"), "p_df = x"),
    "gap": (dict(p_mel=np.nan), "p_mel = nan"),
    "range": (dict(p_nv=2.), "from 0 to 1"),
    "sum": (dict(p_nv=0.), "sum to"),
    "class": (dict(dx="melanoma"), "dx = melanoma"),
    "fold": (dict(fold=.5), "a whole number"),
    "lesion": (dict(lesion_id=None), "lesion_id = nan")}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_tables(predictions, how, tmp_path):
    cells, text = BROKEN[how]
    broken = predictions.astype({c: object for c in cells})
    for c, v in cells.items():
        broken.loc[3, c] = v
    broken.to_csv(tmp_path / "broken.csv", index=False)
    refused(lambda: read_predictions(tmp_path / "broken.csv"), "broken.csv, row 5", text)
    if how != "lesion":
        refused(lambda: write_predictions(tmp_path / "no.csv", broken), text)
    assert not (tmp_path / "no.csv").exists()


def test_problems_come_in_the_order_of_the_file(predictions):
    broken = predictions.copy()
    broken.loc[5, "dx"] = "melanoma"
    broken.loc[2, "p_nv"] = 2.
    assert [p.row for p in find_prediction_problems(broken)] == [4, 4, 7]


def test_broken_files(predictions, tmp_path):
    (tmp_path / "empty.csv").write_text("")
    for name, found in {"empty.csv": "an empty file", "none.csv": "no such file"}.items():
        refused(lambda: read_predictions(tmp_path / name), name, found)
    refused(lambda: check_predictions(predictions.drop(columns="p_mel")), "no column p_mel")
    twice = pd.concat([predictions, predictions.iloc[:1]])
    refused(lambda: check_predictions(twice), "each image once")
    refused(lambda: evaluate(predictions, "train"), "splits there: test, valid")
    refused(lambda: evaluate(predictions.iloc[:0]), "the table is empty")


def test_table_of_predictions(predictions, tmp_path):
    path = write_predictions(tmp_path / "p.csv", predictions)
    assert read_predictions(path).equals(predictions)  # to the last bit
    # as a spreadsheet in half of Europe
    predictions.to_csv(path, index=False, sep=";", decimal=",")
    assert read_predictions(path).equals(predictions)
    known = predictions[["image_id", "lesion_id", "dx", "split", "fold"]]
    by_name = predictions[P_COLUMNS[::-1]].rename(columns=lambda c: c[2:])
    assert predictions_table(known, by_name).equals(predictions)  # by name, not by position
    first = predictions[P_COLUMNS].iloc[:5]
    assert predictions_table(predictions, first, np.arange(5)).equals(predictions.iloc[:5])
    refused(lambda: predictions_table(predictions, np.ones((3, 7)) / 7), "shape (3, 7)")
    refused(lambda: predictions_table(predictions, predictions[P_COLUMNS[:-1]]), "p_vasc = nan")


HEAVY = ("keras", "tensorflow", "jax", "sklearn", "matplotlib", "seaborn")


@pytest.mark.parametrize("module", ["predictions", "evaluation", "figures"])
def test_import_brings_nothing_heavy(module):
    code = f"import sys, skin_nb.{module}; print([m for m in {HEAVY} if m in sys.modules])"
    r = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert r.stdout.strip() == "[]"


# figures


FIGURES = {"confusion", "confusion_counts", "roc", "precision_recall", "recall", "reliability",
           "decision", "probabilities"}


def test_figures_of_odd_parts(predictions, tmp_path):
    from skin_nb.figures import score_figures
    one_image = predictions[predictions.split == "test"].iloc[:1]
    parts = [predictions[predictions.dx == "nv"], predictions[predictions.dx != "vasc"], one_image]
    for n, part in enumerate(parts):
        files = score_figures(part, tmp_path / str(n), metrics=evaluate(part, n_boot=20))
        assert {f.stem for f in files} == FIGURES
        assert all(f.stat().st_size > 5000 for f in files)


def test_figures_of_other_tasks(melanoma, tmp_path):
    from skin_nb.figures import score_figures
    tables = {"mel": melanoma, "two": invent_predictions(40, task=TWO),
              "pets": invent_predictions(40, task=PETS)}
    for name, table in tables.items():
        found = {f.stem for f in score_figures(table, tmp_path / name, metrics=evaluate(table))}
        assert found == (FIGURES - {"decision"} if name == "pets" else FIGURES)


def test_reliability_bins_hold_the_calibration_error(predictions):
    from skin_nb.figures import reliability_bins
    bins = reliability_bins(predictions, n_boot=0)
    gap = (bins.confidence - bins.right).abs() @ bins.images / bins.images.sum()
    assert gap == pytest.approx(evaluate(predictions, n_boot=0)["ece"])
    assert bins.lo.isna().all()


# the command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "A run folder with an untrained model."
    from skin_nb.recipe import Head, Recipe, Stage
    from skin_nb.models import build_model
    from skin_nb.training import save_model
    recipe = Recipe("tiny", "CustomCNN", 32, (Stage(1, 1e-3, unfreeze="all"),),
                    head=Head(pool="flatten", dense=(8,)), scratch=True)
    model, _ = build_model(recipe, HAM10000)
    folder = tmp_path_factory.mktemp("run")
    fit = SimpleNamespace(model=model, recipe=recipe, task=HAM10000, encoder=None, seen={})
    save_model(fit, folder / "model.keras")
    return folder


def pictures(folder, n=14):
    "Two pictures of noise a class; their names and classes."
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    ids = [f"ISIC_{i:07}" for i in range(n)]
    for i, name in enumerate(ids):
        noise = rng.integers(0, 255, (60 + i, 90 - i, 3), "uint8")
        Image.fromarray(noise).save(folder / f"{name}.jpg")
    return ids, [CLASSES[i // 2] for i in range(n)]


def ham10000(folder):
    ids, dx = pictures(folder / "HAM10000_images_part_1")
    lesions = [f"HAM_{i // 2:07}" for i in range(14)]
    t = pd.DataFrame(dict(lesion_id=lesions, image_id=ids, dx=dx, dx_type="histo", age=50,
                          sex="male", localization="back"))
    t.to_csv(folder / "HAM10000_metadata.csv", index=False)


def isic2018(folder):
    ids, dx = pictures(folder / "ISIC2018_Task3_Validation_Input")
    truth = folder / "ISIC2018_Task3_Validation_GroundTruth"
    truth.mkdir()
    t = pd.DataFrame({"image": ids})
    for c in SUBMISSION_COLUMNS:
        t[c] = [float(d == c.lower()) for d in dx]
    t.to_csv(truth / f"{truth.name}.csv", index=False)


def own_folder(folder):
    ids, dx = pictures(folder / "all")
    for i, d in zip(ids, dx):
        (folder / d).mkdir(exist_ok=True)
        (folder / "all" / f"{i}.jpg").rename(folder / d / f"{i}.jpg")
    (folder / "all").rmdir()


@pytest.mark.parametrize("layout, lesions", [(ham10000, 7), (isic2018, 14), (own_folder, 14)],
                         ids=lambda x: getattr(x, "__name__", ""))
def test_evaluate_every_layout(run, layout, lesions, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SKIN_NB_CACHE", str(tmp_path / "cache"))
    layout(tmp_path / "data")
    out = tmp_path / "out"
    arguments = ["--model", run / "model.keras", "--data", tmp_path / "data", "--out", out]
    assert evaluate_command(list(map(str, arguments))) == 0
    printed = capsys.readouterr().out
    m = json.loads((out / "metrics.json").read_text())["metrics"]
    for text in f"14 images of {lesions} lesions", "balanced_accuracy", "this very folder", "lo":
        assert text in printed
    assert m["n"] == 14 and m["intervals"]["auc"]
    assert [m["per_class"][c]["support"] for c in CLASSES] == [2] * 7
    p = read_predictions(out / "predictions.csv")
    assert sorted(p.dx) == sorted(list(CLASSES) * 2)
    assert list(pd.read_csv(out / "submission.csv")) == ["image", *SUBMISSION_COLUMNS]
    galleries = {"right", "wrong", "confidently_wrong"}
    assert {f.stem for f in (out / "figures").glob("*.png")} == FIGURES | galleries


def test_evaluate_takes_thresholds_from_the_run(run, predictions, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SKIN_NB_CACHE", str(tmp_path / "cache"))
    own_folder(tmp_path / "data")
    later = invent_predictions(50, seed=9, split="valid").assign(fold=3)
    write_predictions(run / "predictions.csv", pd.concat([predictions.assign(fold=2), later]))
    arguments = ["--model", str(run / "model.keras"), "--data", str(tmp_path / "data")]
    assert evaluate_command(arguments) == 0
    m = json.loads((run / "evaluation/metrics.json").read_text())["metrics"]
    alarm = m["alarms"]["mel_sensitivity_at_95"]
    assert alarm["chosen_on"] == "valid"
    assert alarm["thresholds"]["0"] == choose_alarm(predictions).thresholds[0]
    assert "validation part" in capsys.readouterr().out


def test_evaluate_refuses(run, tmp_path, capsys):
    (tmp_path / "broken.keras").write_bytes(b"no model")
    own_folder(tmp_path / "data")
    model = str(run / "model.keras")
    data = str(tmp_path / "data")
    cases = {"none.keras": ["--model", "none.keras", "--data", "sample"],
             "nowhere": ["--model", model, "--data", "nowhere"],
             "broken.keras": ["--model", str(tmp_path / "broken.keras"), "--data", data]}
    for text, arguments in cases.items():
        assert evaluate_command(arguments) == 2
        assert text in capsys.readouterr().err
