"Temperatures, prediction sets, silence and subgroups, each against an independent way of getting there."
import json
import numpy as np, pandas as pd, pytest
from skin_nb.calibration import (carve_calibration, conformal_sets, fit_temperature, patient_groups, predict_sets, risk_coverage, say_coverage, say_selective, say_subgroups,
                                 scale_predictions, scale_probabilities, selective_table, set_table, subgroup_table, write_tables)
from skin_nb.core import CLASSES
from skin_nb.predictions import P_COLUMNS, invent_predictions
from skin_nb.evaluation import evaluate, split_arrays

@pytest.fixture(scope="module")
def predictions(): return pd.concat([invent_predictions(n, seed=s, split=name) for s, (name, n) in enumerate((("test", 500), ("valid", 300), ("calib", 600)))], ignore_index=True)

def test_temperature_keeps_every_answer(predictions):
    scaled, found = scale_predictions(predictions)
    before, after = (evaluate(t, n_boot=0) for t in (predictions, scaled))
    assert list(found) == [0] and found[0] < .9 and before["confusion"] == after["confusion"] and after["ece"] < before["ece"] and after["brier"] < before["brier"]
    assert np.allclose(scaled[P_COLUMNS].sum(axis=1), 1)

def test_temperature_is_the_best_of_a_grid(predictions):
    y, p, _ = split_arrays(predictions, "valid")
    loss = lambda t: -np.log(scale_probabilities(p, t)[np.arange(len(y)), y]).mean()
    assert loss(fit_temperature(y, p)) <= min(map(loss, np.geomspace(.1, 10, 200))) + 1e-9

def test_temperature_sees_its_own_fold_only(predictions):
    other = predictions.assign(fold=1)
    other[P_COLUMNS] = scale_probabilities(predictions[P_COLUMNS].to_numpy(), 3.)
    found = scale_predictions(pd.concat([predictions, other], ignore_index=True))[1]
    assert found[1] == pytest.approx(found[0] / 3, rel=1e-3)

def test_marginal_sets_are_an_order_statistic(predictions):
    (y, p, _), (_, new, _) = split_arrays(predictions, "calib"), split_arrays(predictions)
    for level in .8, .9:
        score = np.sort(1 - p[np.arange(len(y)), y])
        by_hand = 1 - new <= score[int(np.ceil((len(y) + 1) * level)) - 1]
        assert (conformal_sets(y, p, new, level) != by_hand).sum() <= by_hand.any(1).sum() * .01

def test_class_conditional_sets(predictions):
    (y, p, _), (_, new, _) = split_arrays(predictions, "calib"), split_arrays(predictions)
    sets = conformal_sets(y, p, new, by_class=True)
    for k in range(7):
        score, n = np.sort(1 - p[y == k, k]), (y == k).sum()
        by_hand = 1 - new[:, k] <= score[int(np.ceil((n + 1) * .9)) - 1] if n > 10 else np.ones(len(new), bool)
        assert (sets[:, k] == by_hand).mean() > .99, CLASSES[k]
    some = conformal_sets(y[y != 3], p[y != 3], new, by_class=True)
    assert some[:, 3].all()  # a class never calibrated is in every set

def test_coverage_by_class_is_what_was_asked(predictions):
    many = pd.concat([predictions[predictions.split != "test"], invent_predictions(6000, seed=9)], ignore_index=True)
    plain, by_class = (set_table(many, predict_sets(many, .9, by), n_boot=20).set_index("class") for by in (False, True))
    assert abs(plain.coverage["all"] - .9) < .03 and abs(by_class.coverage["nv"] - .9) < .04
    assert plain.coverage["vasc"] < .8 < .85 < by_class.coverage["vasc"] and by_class["size"]["all"] > plain["size"]["all"]
    assert (plain.lo <= plain.coverage).all() and (plain.coverage <= plain.hi).all()
    assert "melanoma in" in say_coverage(pd.concat([plain.reset_index().assign(sets="marginal"), by_class.reset_index().assign(sets="class-conditional")]).assign(network="n", level=.9))

def test_risk_coverage(predictions):
    y, p, _ = split_arrays(predictions)
    t = risk_coverage(y, p)
    assert t.risk.iloc[-1] == pytest.approx((p.argmax(1) != y).mean()) and t.coverage.iloc[-1] == 1
    best = risk_coverage(y, np.where((p.argmax(1) == y)[:, None], np.eye(7)[p.argmax(1)], p))  # sure where right
    assert best.risk.mean() < t.risk.mean()
    s = selective_table(predictions, n_boot=20).set_index("answered")
    assert s.accuracy[1.] == pytest.approx((p.argmax(1) == y).mean()) and s.mel_passed_on[1.] == 0 and s.accuracy[.5] == pytest.approx(1 - t.risk[(t.coverage - .5).abs().argmin()], abs=.01)
    assert "every fifth case" in say_selective(s.reset_index().assign(network="n"))

def test_subgroups(predictions):
    groups = pd.Series(np.where(np.arange(len(predictions)) % 5, "many", "few"), predictions.image_id)
    t = subgroup_table(predictions, groups, n_boot=50).set_index("group")
    y, p, _ = split_arrays(predictions)
    few, right = groups[predictions.image_id[predictions.split == "test"]].to_numpy() == "few", p.argmax(1) == y
    assert t.accuracy[["all", "few"]].tolist() == pytest.approx([right.mean(), right[few].mean()]) and t.images.tolist() == [len(y), few.sum(), (~few).sum()]
    assert t.mel_recall["few"] == pytest.approx(right[few & (y == 4)].mean()) and (t.mel_recall_lo <= t.mel_recall).all() and (t.mel_recall <= t.mel_recall_hi).all()
    sick = np.isin(y, [0, 1, 4])
    assert t.malignant_recall["all"] == pytest.approx(np.isin(p.argmax(1), [0, 1, 4])[sick].mean())

def test_sentences_name_small_and_different_groups():
    row = lambda group, n, value: dict(network="n", column="age", group=group, mel_lesions=n, mel_recall=value, mel_recall_lo=value - .05, mel_recall_hi=value + .05)
    said = say_subgroups(pd.DataFrame([row("all", 100, .6), row("young", 5, .2), row("old", 60, .7), row("middle", 35, .58)]))
    assert "Too small to judge (fewer than 20 melanoma lesions): young." in said and "has old 0.70" in said and "middle 0.58" not in said
    assert "No group can be judged." in say_subgroups(pd.DataFrame([row("all", 10, .6), row("young", 5, .2)]))

def test_gaps_are_a_group_of_their_own():
    t = patient_groups(pd.DataFrame(dict(image_id=["a", "b"], sex=["male", "unknown"], age=[np.nan, 44.], localization=["back", "unknown"])))
    assert t.loc["a"].tolist() == ["male", "unknown", "back"] and t.loc["b"].tolist() == ["unknown", "41-60", "unknown"]

def test_calibration_part_shares_no_lesion():
    rng = np.random.default_rng(0)
    lesion = rng.integers(0, 300, 600)
    parts = pd.DataFrame(dict(lesion_id=lesion, dx=np.array(CLASSES)[lesion % 7], split=np.where(lesion % 10 < 7, "train", np.where(lesion % 10 == 7, "valid", "test"))))
    held = carve_calibration(parts)
    assert held.groupby("lesion_id").split.nunique().max() == 1 and (held.split[parts.split != "train"] == parts.split[parts.split != "train"]).all()
    assert .1 < (held.split == "calib").sum() / (parts.split == "train").sum() < .25 and set(held.dx[held.split == "calib"]) == set(CLASSES)

def test_tables_are_written(tmp_path):
    t = pd.DataFrame(dict(a=[1., np.nan], b=["x", "y"]))
    write_tables({"coverage": t}, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["calibration"]["coverage"][1]["a"] is None and pd.read_csv(tmp_path / "coverage.csv").equals(t)
