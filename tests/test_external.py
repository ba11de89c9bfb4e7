"""What is measured about other people's pictures: nothing of theirs gets into a model, and a known
cause is found."""
import numpy as np
import pandas as pd
import pytest
from skin_nb.melanoma.external import (
    AskedPictures, Place, ask_folds, choose_rows, describe_factors, factor_table, plot_factors,
    recalibration_table, transfer_table, without_classes)
from skin_nb.readers import read_any
from skin_nb.sample import sample_folder, siim_sample_folder
from skin_nb.tasks import as_melanoma, task_of, with_task


@pytest.fixture(scope="module")
def home():
    table = as_melanoma(read_any(sample_folder()))
    return Place("home", table.assign(diagnosis="nv"), np.zeros((len(table), 1, 1, 3), "uint8"))


@pytest.fixture(scope="module")
def away():
    table = read_any(siim_sample_folder())
    return Place("away", table.assign(diagnosis="nv"), np.zeros((len(table), 1, 1, 3), "uint8"))


def invent_features(place, strength, seed=0):
    "Features of which the first says something of melanoma."
    x = np.random.default_rng(seed).normal(size=(len(place.table), 8)).astype("float32")
    x[:, 0] += strength * (place.table.dx == "mel")
    return x


def ask(home, x, **asked):
    return ask_folds(home, x, lambda parts: asked, [0, 1])


def test_labels_of_another_place_have_no_influence(home, away):
    x, other = invent_features(home, 2), invent_features(away, 2, 1)
    turned = away.table.assign(dx=away.table.dx.map({"mel": "other", "other": "mel"}))
    turned = with_task(turned, task_of(away.table))
    one = ask(home, x, away=AskedPictures(away.table, other))
    two = ask(home, x, away=AskedPictures(turned, other))
    assert np.array_equal(one["away"].p_mel, two["away"].p_mel)
    test = one["away"].query("split == 'test'")
    assert set(test.image_id) == set("away/" + away.table.image_id)
    assert not set(test.lesion_id) & set(home.table.lesion_id)


def test_a_place_is_scored_on_all_its_pictures_in_every_fold(home, away):
    answers = ask(
        home, invent_features(home, 2), away=AskedPictures(away.table, invent_features(away, 1, 1))
    )
    assert answers["away"].query("split == 'test'").groupby("fold").size().tolist() == [300, 300]
    table = transfer_table({"home": answers}, n_boot=50).set_index("scored_at")
    assert table.auc["home"] > table.auc["away"] > .6  # less to see there
    assert table.melanomas["away"] == 30 and table.groups["away"] == away.table.patient_id.nunique()


def test_what_was_taken_away_is_what_is_named(home, away):
    "Of two changes, the one that removes what tells melanoma apart is found, the other isn't."
    x, other = invent_features(home, 3), invent_features(away, 3, 1)
    without = {"sight": x * ([0] + [1] * 7), "rest": x * ([1] + [0] * 7)}

    def asked(parts):
        test = (parts.split == "test").to_numpy()
        part = with_task(home.table[test].reset_index(drop=True), task_of(home.table))
        variants = {"as it is": x, **without}
        return {f"home: {name}": AskedPictures(part, v[test]) for name, v in variants.items()}

    table = factor_table(home, away, ask_folds(home, x, asked, [0, 1]), n_boot=100)
    table = table.set_index("change")
    assert table.hi["sight"] < -.2 and table.hi["rest"] > -.02
    said = describe_factors(table.reset_index())
    assert "sight -" in said and other.shape == (300, 8)


def test_every_place_has_its_own_line_of_changes():
    "Two other places of one model: what is clear at one is not said of the other."
    rows = [("ham", "ham", "home", .03), ("ham", "siim", "home", .02),
            ("siim", "ham", "away", -.01), ("siim", "isic", "away", .0)]
    table = pd.DataFrame(rows, columns=["made_at", "other", "pictures", "difference"])
    table = table.assign(change="nevi only", lo=table.difference - .005, hi=table.difference + .005)
    changes = "AUC changes by nevi only"
    own = "- Made on ham, scored on its own pictures, changed"
    assert describe_factors(table).splitlines() == [
        f"{own}: {changes} +0.030 [+0.025, +0.035].",
        f"{own} towards siim: {changes} +0.020 [+0.015, +0.025].",
        f"- Made on siim, scored on pictures of ham, changed: {changes} -0.010 [-0.015, -0.005].",
        "- Made on siim, scored on pictures of isic, changed: no change moves the AUC clearly.",
    ]
    labels = [label.get_text() for label in plot_factors(table).get_yticklabels()]
    assert labels[:2] == ["siim → isic: nevi only", "siim → ham: nevi only"]


def auc_of_pairs(sick, test):
    "The share of pairs that are ranked rightly, of those that one fold's model has judged."
    right = pairs = 0
    for fold in test.fold.unique():
        own = (test.fold == fold).to_numpy()
        ill, well = test.p_mel[own & sick].to_numpy(), test.p_mel[own & ~sick].to_numpy()
        right += (ill[:, None] > well).sum() + (ill[:, None] == well).sum() / 2
        pairs += len(ill) * len(well)
    return right / pairs


def test_another_scale_in_another_fold_changes_no_auc(home, away):
    "Folds whose models answer on scales of their own are not ranked against each other."
    answers = ask(
        home, invent_features(home, 2), away=AskedPictures(away.table, invent_features(away, 2, 1))
    )
    p = answers["away"].p_mel.where(answers["away"].fold == 0, answers["away"].p_mel / 50)
    scaled = with_task(answers["away"].assign(p_mel=p, p_other=1 - p), task_of(home.table))
    one, two = (
        transfer_table({"home": dict(away=t)}, n_boot=20).auc[0] for t in (answers["away"], scaled)
    )
    assert one == pytest.approx(two)


def test_leaving_classes_out_is_the_auc_without_them(home):
    answers = ask(home, invent_features(home, 2))["home"]
    test = answers[answers.split == "test"]
    kept = np.random.default_rng(0).random(len(test)) < .5
    found = without_classes(answers, kept, n_boot=20)
    sick = (test.dx == "mel").to_numpy()
    assert found["before"] == pytest.approx(auc_of_pairs(sick, test))
    rest = kept | sick
    assert found["after"] == pytest.approx(auc_of_pairs(sick[rest], test[rest]))
    assert found["lo"] < found["difference"] < found["hi"]


def test_labels_repair_probabilities_that_are_too_low(home, away):
    answers = ask(
        home, invent_features(home, 2), away=AskedPictures(away.table, invent_features(away, 2, 1))
    )
    low = answers["away"]
    p = low.p_mel.where(low.split != "test", low.p_mel / 4)
    low = with_task(low.assign(p_mel=p, p_other=1 - p), task_of(home.table))
    table = recalibration_table({"home": {"home": answers["home"], "away": low}}, draws=40)
    of = table[table.how == "at random"].set_index("measure")["median"]
    gap = (of[["expected_before", "expected_after"]] - of["observed"]).abs()
    assert gap["expected_after"] < gap["expected_before"] / 2
    assert of["own_sensitivity"] > of["home_sensitivity"]


def test_rows_to_change_hold_every_melanoma(home):
    rows = choose_rows(home.table, 100)
    assert len(rows) == 100 and (home.table.dx.iloc[rows] == "mel").sum() == 47
    assert set(rows) < set(choose_rows(home.table, 200))  # what is cached for few serves many
