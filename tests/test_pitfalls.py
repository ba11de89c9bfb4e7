"Ten checks, each against its mistake and the honest version; and the leakage meter's arithmetic."
from functools import partial
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from skin_nb.core import DataError
from skin_nb.tasks import HAM10000, Task, as_melanoma, task_of, with_task

RESULTS = Path(__file__).resolve().parent.parent / "results" / "ham10000"

def lesions(n=12, task=HAM10000):
    "`n` lesions of each class, two pictures of every second lesion."
    places = ("back", "face", "unknown")
    rows = [(f"L_{c}_{i}", f"I_{c}_{i}_{k}", c, places[i % 3])
            for c in task.classes for i in range(n) for k in range(1 + i % 2)]
    t = pd.DataFrame(rows, columns=["lesion_id", "image_id", "dx", "localization"])
    number = np.arange(len(t))
    sex = np.where(number % 2, "male", "female")
    return with_task(t.assign(age=number % 9 * 10., sex=sex, dx_type="histo"), task)

@pytest.fixture(scope="module")
def table():
    return lesions()

def pictures(n=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 3)).astype("uint8")

def cases(t):
    "For each check: arguments of the mistake, of the honest version, and a word of the remedy."
    from skin_nb import pitfalls as p
    from skin_nb.preparation import encode_metadata, fit_metadata, split_by_image, split_by_lesion
    honest = split_by_lesion(t)
    encode = partial(encode_metadata, fit_metadata(t))
    valid, test = (list(honest.lesion_id[honest.split == s]) for s in ("valid", "test"))
    beside = dict(accuracy=.7, constant_accuracy=.669, balanced_accuracy=.5)
    doubtful = dict(beside, intervals=dict(accuracy=[.66, .74]))
    certain = dict(beside, intervals=dict(accuracy=[.68, .72]))
    stored = pictures()
    known = t.localization != "unknown"
    by_class = t.assign(localization=t.dx.where(known, "unknown"))
    isic = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    names = pd.get_dummies(t[["age", "image_id"]]).to_numpy(float)
    return {
        p.check_pairing: ((t.assign(dx=np.roll(t.dx, 1)), t), (t, t), "class weights"),
        p.check_features: ((names,), (encode(t),), "file names"),
        p.check_rescaling: ((stored / 255., "0..255"), (stored, "0..255"), "Rescale once"),
        p.check_validation_images:
            ((stored[:, :, ::-1], stored), (stored / 127.5 - 1, stored), "training part only"),
        p.check_no_label_in_metadata:
            ((p.place_from_label, by_class), (encode, t), "Fill gaps"),
        p.check_columns: ((["age", "dx_type_histo"],), (["age", "sex_male"],), "Leave these"),
        p.check_split: ((split_by_image(t),), (honest,), "split_by_lesion"),
        p.check_headline: ((doubtful, "accuracy"), (certain, "accuracy"), "balanced_accuracy"),
        p.check_choice: ((valid + test, test), (valid, test), "validation part"),
        p.check_class_order: ((isic, HAM10000.classes),
                              (HAM10000.p_columns, HAM10000.classes), "by name")}

NAMES = ["check_pairing", "check_features", "check_rescaling", "check_validation_images",
         "check_no_label_in_metadata", "check_columns", "check_split", "check_headline",
         "check_choice", "check_class_order"]

@pytest.mark.parametrize("name", NAMES)
def test_check_fails_on_the_mistake_and_passes_on_the_honest_version(name, table):
    by_name = {check.__name__: (check, case) for check, case in cases(table).items()}
    check, (mistake, honest, remedy) = by_name[name]
    assert check(*honest) is None
    with pytest.raises(DataError) as error:
        check(*mistake)
    (problem,) = error.value.problems
    assert remedy in problem.fix and problem.found and problem.expected

def test_every_pitfall_has_its_check_and_its_measurement():
    from skin_nb.pitfalls import PITFALLS
    assert [p.check.__name__ for p in PITFALLS] == NAMES
    assert len({p.measure for p in PITFALLS}) == len(PITFALLS)

ENDS = [("0..255", 0, 255), ("-1..1", -1, 1), ("0..1", 0, 1), ("bgr", -123, 151),
        ("standardised", -2.1, 2.6)]

@pytest.mark.parametrize("expects, low, high", ENDS)
def test_each_range_is_told_from_the_others(expects, low, high):
    from skin_nb.pitfalls import RANGES, check_rescaling
    batch = pictures() / 255. * (high - low) + low
    check_rescaling(batch, expects)
    for other in set(RANGES) - {expects}:
        with pytest.raises(DataError):
            check_rescaling(batch, other)

def test_identifiers_in_any_form(table):
    from scipy import sparse
    from skin_nb.pitfalls import check_features
    metadata = pd.get_dummies(table[["age", "sex", "localization"]]).astype(float)
    check_features(metadata)
    check_features(sparse.csr_matrix(metadata.to_numpy()))
    numbered = metadata.assign(number=np.arange(len(table)))
    named = metadata.assign(name=table.image_id)
    one_hot = sparse.hstack([metadata.to_numpy(), sparse.identity(len(table))], "csr")
    for wrong in (numbered, named, one_hot):
        with pytest.raises(DataError):
            check_features(wrong)

def test_features_of_pictures_are_no_identifiers():
    from skin_nb.pitfalls import check_features
    check_features(np.random.default_rng(0).normal(size=(40, 8)).astype("float32"))

def test_split_check_knows_patients_and_near_duplicates(table):
    from skin_nb.pitfalls import check_split
    from skin_nb.preparation import split_by_lesion
    parts = split_by_lesion(table)
    a, b = (parts.lesion_id[parts.split == s].iloc[0] for s in ("train", "test"))
    pair = pd.DataFrame(dict(lesion_a=[a], lesion_b=[b]))
    with pytest.raises(DataError, match="clusters of near-duplicates"):
        check_split(parts, pair)
    with pytest.raises(DataError, match="patients"):
        check_split(parts.assign(patient_id="one"))
    unused = parts.split.where(parts.lesion_id != a, "spare")  # such rows don't matter
    check_split(parts.assign(split=unused), pair)

def test_accuracy_needs_the_constant_answer_beside_it():
    from skin_nb.pitfalls import check_headline
    with pytest.raises(DataError, match="by itself"):
        check_headline(dict(accuracy=.9), "accuracy")
    with pytest.raises(DataError, match="no score"):
        check_headline(dict(accuracy=.9))

def test_validation_picture_changed_alone_is_found():
    from skin_nb.pitfalls import check_validation_images
    stored = pictures()
    given = stored.copy()
    given[5] = given[5, ::-1]
    with pytest.raises(DataError, match="row 5: found 1 of 8"):
        check_validation_images(given, stored)

def test_leakage_splits_differ_in_what_they_hold_together_only(table):
    from skin_nb.leakage import leakage_splits
    from skin_nb.preparation import lesions_shared
    a, b = table.lesion_id.iloc[0], table.lesion_id.iloc[2]
    splits = leakage_splits(table, 1, 3, pd.DataFrame(dict(lesion_a=[a], lesion_b=[b])))
    assert len({(p.split == "train").sum() for p in splits.values()}) == 1
    used = {name: p[p.split != "spare"] for name, p in splits.items()}
    assert lesions_shared(used["image"]) > 0 and lesions_shared(used["lesion"]) == 0
    assert used["lesion+phash"].query("lesion_id in @a or lesion_id in @b").split.nunique() == 1
    assert splits["image"].lesion_id.equals(table.lesion_id)

def test_every_picture_is_tested_once_under_each_split(table):
    from skin_nb.leakage import leakage_splits
    splits = [leakage_splits(table, fold) for fold in range(5)]
    for name in ("image", "lesion"):
        times = sum((of_fold[name].split == "test").astype(int) for of_fold in splits)
        assert (times == 1).all()

def test_crossover_tests_each_picture_with_and_without_a_sibling(table):
    from skin_nb.leakage import crossover_splits, seen_lesions
    from skin_nb.preparation import split_by_lesion
    base = split_by_lesion(table)
    pair = crossover_splits(base)
    test = [(p.split == "test").to_numpy() for p in pair]
    assert test[0].sum() and (test[0] == test[1]).all()
    assert not table.lesion_id[test[0]].duplicated().any()
    assert (seen_lesions(pair[0])[test[0]] != seen_lesions(pair[1])[test[0]]).all()
    others = base.split != "test"
    for p in pair:
        assert (p.split[others] == base.split[others]).all()

def test_seen_means_seen_in_training():
    from skin_nb.leakage import photographed_once, seen_lesions
    split = ["train", "test", "test", "test", "valid", "train"]
    t = pd.DataFrame(dict(lesion_id=list("aabccd"), split=split))
    assert seen_lesions(t).tolist() == [True, True, False, False, False, True]
    assert photographed_once(t).tolist() == [False, False, True, False, False, True]

def predicted(right, n, c="nv", lesion="l"):
    "Predictions for `n` lesions of one class, so many of them right."
    rows = dict(image_id=range(n), lesion_id=[f"{lesion}{i}" for i in range(n)], dx=c,
                predicted=np.where(np.arange(n) < right, c, "mel"))
    return with_task(pd.DataFrame(rows), HAM10000)

def test_a_difference_is_resampled_together():
    "Equal predictions never differ; opposite ones do by twice the deviation from the mean."
    from skin_nb.pitfalls import cost_of_mistake
    a = predicted(30, 50)
    turned = a.assign(predicted=np.where(a.predicted == "nv", "mel", "nv"))
    same = cost_of_mistake(a, a)
    opposite = cost_of_mistake(a, turned, score="accuracy")
    assert (same["difference"], same["lo"], same["hi"]) == (0, 0, 0)
    assert opposite["difference"] == pytest.approx(.2)
    ends = opposite["lo"], opposite["hi"]
    assert ends == pytest.approx((-.08, .48), abs=.06)  # .2 ± 1.96 · 2 · √(.24 / 50)

def test_groups_that_share_no_lesion_are_resampled_independently():
    from skin_nb.pitfalls import cost_of_mistake
    a, b = predicted(80, 100), predicted(70, 100, lesion="m")
    found = cost_of_mistake(a, b, score="accuracy", n_boot=2000)
    half = 1.96 * np.sqrt(.8 * .2 / 100 + .7 * .3 / 100)
    assert found["difference"] == pytest.approx(.1)
    assert (found["hi"] - found["lo"]) / 2 == pytest.approx(half, rel=.1)

THREE = Task("own", ("dark", "pale", "red"))

def invented_bench(table, features=6):
    "A bench on invented features, which know a little of the class."
    from skin_nb.pitfalls import Bench
    from skin_nb.preparation import split_by_lesion
    task = task_of(table)
    noise = np.random.default_rng(0).normal(size=(len(table), features))
    x = noise.astype("float32")
    x[:, 0] += task.codes(table.dx)
    parts = tuple(split_by_lesion(table, fold) for fold in (0, 1))
    return Bench(table, None, "none", None, 0, x, parts, (x, x))

@pytest.mark.parametrize("question", [lesions(), lesions(30, THREE), as_melanoma(lesions())],
                         ids=["seven classes", "three classes", "melanoma"])
def test_mistakes_are_measured_for_any_set_of_classes(question):
    from skin_nb import pitfalls as p
    bench = invented_bench(question)
    task = task_of(question)
    with_network = (p.measure_rescaling, p.measure_validation)
    for pitfall in p.PITFALLS:
        if pitfall.measure in with_network:
            continue
        mistaken, honest = pitfall.measure(bench)
        if pitfall.measure is not p.measure_split:  # it needs five folds to test the same
            assert sorted(mistaken.image_id) == sorted(honest.image_id)
        assert {*mistaken.predicted, *honest.predicted} <= set(task.classes)
        cost = p.cost_of_mistake(mistaken, honest, n_boot=20)
        assert np.isfinite([cost["difference"], cost["lo"], cost["hi"]]).all()
    wrong, right = p.measure_order(bench)
    assert (wrong.predicted != right.predicted).any()

def test_the_better_candidate_is_chosen():
    from skin_nb.pitfalls import choose_candidate
    from skin_nb.predictions import invent_predictions
    poor, good = (invent_predictions(lesions=200, skill=s) for s in (.5, 4.))
    assert choose_candidate([poor, good], "balanced_accuracy", "test") is good
    assert choose_candidate([good, poor], "accuracy", "test") is good

def adds_up(t, a, b):
    assert np.allclose(t[a] - t[b], t.difference, atol=2e-4)
    assert ((t.lo <= t.difference) & (t.difference <= t.hi)).all()

def test_committed_tables_add_up():
    from skin_nb.leakage import COMPARISONS
    from skin_nb.leakage import LEAKAGE_GROUPS
    groups = pd.read_csv(RESULTS / "leakage" / "groups.csv")
    differences = pd.read_csv(RESULTS / "leakage" / "differences.csv")
    adds_up(differences, "of_a", "of_b")
    assert ((groups.lo <= groups.value) & (groups.value <= groups.hi)).all()
    assert set(differences.comparison) == set(COMPARISONS)
    assert set(groups.group) == set(LEAKAGE_GROUPS)
    value = groups.set_index(["network", "group", "score"]).value
    keys = list(zip(differences.network, differences.a, differences.score))
    assert np.allclose(value.loc[keys], differences.of_a)
    adds_up(pd.read_csv(RESULTS / "pitfalls" / "costs.csv"), "mistaken", "honest")

def test_effect_is_read_from_the_interval():
    from skin_nb.pitfalls import mistake_table
    rows = pd.DataFrame(dict(
        mistake=["a", "b", "c"], note=["", None, "few"], score="accuracy", mistaken=.5, honest=.4,
        difference=.1, images=9, lo=[.01, -.2, -.1], hi=[.2, -.1, .3]))
    assert mistake_table(rows).effect.to_dict() == {
        "a": "flatters the score", "b": "harms the system", "c (few)": "can't be told from none"}

def test_checks_on_real_data(real_data):
    from skin_nb import pitfalls as p
    from skin_nb.experiment import load_data
    from skin_nb.preparation import encode_metadata, fit_metadata, split_by_image, split_by_lesion
    table = load_data(real_data)
    p.check_split(split_by_lesion(table))
    with pytest.raises(DataError, match=" lesions in more than one part"):
        p.check_split(split_by_image(table))
    encode = partial(encode_metadata, fit_metadata(table))
    p.check_features(encode(table))
    p.check_no_label_in_metadata(encode, table)
    with pytest.raises(DataError, match="rows that change when the labels are shuffled"):
        p.check_no_label_in_metadata(p.place_from_label, table)
