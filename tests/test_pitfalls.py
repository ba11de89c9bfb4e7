"Ten checks, each against its mistake and against the honest version; and the arithmetic of the leakage meter."
from pathlib import Path
import numpy as np, pandas as pd
import pytest
from skin_nb.core import CLASSES, DataError

RESULTS = Path(__file__).resolve().parent.parent / "results" / "ham10000"

def lesions(n=12):
    "Seven classes, `n` lesions each, two pictures of every second lesion."
    rows = [(f"L_{c}_{i}", f"I_{c}_{i}_{k}", c, ("back", "face", "unknown")[i % 3]) for c in CLASSES for i in range(n) for k in range(1 + i % 2)]
    t = pd.DataFrame(rows, columns=["lesion_id", "image_id", "dx", "localization"])
    return t.assign(age=np.arange(len(t)) % 9 * 10., sex=np.where(np.arange(len(t)) % 2, "male", "female"), dx_type="histo")

@pytest.fixture(scope="module")
def table(): return lesions()

def pictures(n=8, seed=0): return np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 3)).astype("uint8")

def cases(t):
    "For each check: arguments of the mistake, of the honest version, and a word of the remedy."
    from skin_nb import pitfalls as p
    from skin_nb.preparation import encode_metadata, fit_metadata, split_by_image, split_by_lesion
    honest, by_image, encoder = split_by_lesion(t), split_by_image(t), fit_metadata(t)
    ids = lambda *parts: list(honest.lesion_id[honest.split.isin(parts)])
    scores = dict(accuracy=.7, constant_accuracy=.669, balanced_accuracy=.5, intervals=dict(accuracy=[.66, .74]))
    sure = scores | dict(intervals=dict(accuracy=[.68, .72]))
    stored = pictures()
    return {
        p.check_pairing: ((t.assign(dx=np.roll(t.dx, 1)), t), (t, t), "class weights"),
        p.check_features: ((pd.get_dummies(t[["age", "image_id"]]).to_numpy(float),), (encode_metadata(encoder, t),), "file names"),
        p.check_rescaling: ((stored / 255., "0..255"), (stored, "0..255"), "Rescale once"),
        p.check_validation_images: ((stored[:, :, ::-1], stored), (stored / 127.5 - 1, stored), "training part only"),
        p.check_no_label_in_metadata: ((p.place_from_label, t.assign(localization=np.where(t.localization == "unknown", "unknown", t.dx))), (lambda a: encode_metadata(encoder, a), t), "Fill gaps"),
        p.check_columns: ((["age", "dx_type_histo"],), (["age", "sex_male"],), "Leave these"),
        p.check_split: ((by_image,), (honest,), "split_by_lesion"),
        p.check_headline: ((scores, "accuracy"), (sure, "accuracy"), "balanced_accuracy"),
        p.check_choice: ((ids("valid", "test"), ids("test")), (ids("valid"), ids("test")), "validation part"),
        p.check_class_order: ((["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"],), ([f"p_{c}" for c in CLASSES],), "by name")}

NAMES = ("check_pairing check_features check_rescaling check_validation_images check_no_label_in_metadata check_columns check_split check_headline "
         "check_choice check_class_order").split()

@pytest.mark.parametrize("name", NAMES)
def test_check_fails_on_the_mistake_and_passes_on_the_honest_version(name, table):
    check, (mistake, honest, remedy) = next((c, v) for c, v in cases(table).items() if c.__name__ == name)
    assert check(*honest) is None
    with pytest.raises(DataError) as error: check(*mistake)
    (problem,) = error.value.problems
    assert remedy in problem.fix and problem.found and problem.expected

def test_every_pitfall_has_its_check_and_its_measurement():
    from skin_nb.pitfalls import PITFALLS
    assert [p.check.__name__ for p in PITFALLS] == NAMES
    assert len({p.measure for p in PITFALLS}) == len(PITFALLS)

@pytest.mark.parametrize("expects, low, high", [("0..255", 0, 255), ("-1..1", -1, 1), ("0..1", 0, 1), ("bgr", -123, 151), ("standardised", -2.1, 2.6)])
def test_each_range_is_told_from_the_others(expects, low, high):
    from skin_nb.pitfalls import RANGES, check_rescaling
    batch = pictures() / 255. * (high - low) + low
    check_rescaling(batch, expects)
    for other in set(RANGES) - {expects}:
        with pytest.raises(DataError): check_rescaling(batch, other)

def test_identifiers_in_any_form(table):
    from scipy import sparse
    from skin_nb.pitfalls import check_features
    metadata = pd.get_dummies(table[["age", "sex", "localization"]]).astype(float)
    check_features(metadata); check_features(sparse.csr_matrix(metadata.to_numpy()))
    for wrong in (metadata.assign(number=np.arange(len(table))), metadata.assign(name=table.image_id), sparse.hstack([metadata.to_numpy(), sparse.identity(len(table))], "csr")):
        with pytest.raises(DataError): check_features(wrong)

def test_features_of_pictures_are_no_identifiers():
    from skin_nb.pitfalls import check_features
    check_features(np.random.default_rng(0).normal(size=(40, 8)).astype("float32"))

def test_split_check_knows_patients_and_near_duplicates(table):
    from skin_nb.pitfalls import check_split
    from skin_nb.preparation import split_by_lesion
    parts = split_by_lesion(table)
    a, b = (parts.lesion_id[parts.split == s].iloc[0] for s in ("train", "test"))
    for wrong in (dict(parts=parts, pairs=pd.DataFrame(dict(lesion_a=[a], lesion_b=[b]))), dict(parts=parts.assign(patient_id="one"))):
        with pytest.raises(DataError): check_split(**wrong)
    check_split(parts.assign(split=parts.split.where(parts.lesion_id != a, "spare")), pd.DataFrame(dict(lesion_a=[a], lesion_b=[b])))  # unused rows don't matter

def test_accuracy_needs_the_constant_answer_beside_it():
    from skin_nb.pitfalls import check_headline
    with pytest.raises(DataError, match="by itself"): check_headline(dict(accuracy=.9), "accuracy")
    with pytest.raises(DataError, match="no score"): check_headline(dict(accuracy=.9))

def test_validation_picture_changed_alone_is_found():
    from skin_nb.pitfalls import check_validation_images
    stored = pictures()
    seen = stored.copy(); seen[5] = seen[5, ::-1]
    with pytest.raises(DataError, match="row 5: found 1 of 8"): check_validation_images(seen, stored)

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
    tested = pd.DataFrame([{name: (p.split == "test").to_numpy() for name, p in leakage_splits(table, f).items()} for f in range(5)])
    assert all((np.sum(tested[name].to_list(), axis=0) == 1).all() for name in ("image", "lesion"))

def test_crossover_tests_each_picture_with_and_without_a_sibling(table):
    from skin_nb.leakage import crossover_splits, seen_lesions
    from skin_nb.preparation import split_by_lesion
    base = split_by_lesion(table)
    pair = crossover_splits(base)
    test = [(p.split == "test").to_numpy() for p in pair]
    assert test[0].sum() and (test[0] == test[1]).all() and not table.lesion_id[test[0]].duplicated().any()
    assert (seen_lesions(pair[0])[test[0]] != seen_lesions(pair[1])[test[0]]).all()
    for p in pair: assert (p.split[base.split != "test"] == base.split[base.split != "test"]).all()

def test_seen_means_seen_in_training():
    from skin_nb.leakage import photographed_once, seen_lesions
    t = pd.DataFrame(dict(lesion_id=list("aabccd"), split=["train", "test", "test", "test", "valid", "train"]))
    assert seen_lesions(t).tolist() == [True, True, False, False, False, True]
    assert photographed_once(t).tolist() == [False, False, True, False, False, True]

def said(right, n, c="nv", lesion="l"): return pd.DataFrame(dict(image_id=range(n), lesion_id=[f"{lesion}{i}" for i in range(n)], dx=c, said=np.where(np.arange(n) < right, c, "mel")))

def test_a_difference_is_resampled_together():
    "The same answers differ by nothing in any resample; opposite ones by twice the deviation from the mean."
    from skin_nb.pitfalls import price
    a = said(30, 50)
    same, opposite = price(a, a), price(a, a.assign(said=np.where(a.said == "nv", "mel", "nv")), score="accuracy")
    assert (same["difference"], same["lo"], same["hi"]) == (0, 0, 0)
    assert opposite["difference"] == pytest.approx(.2) and (opposite["lo"], opposite["hi"]) == pytest.approx((-.08, .48), abs=.06)  # .2 ± 1.96 · 2 · √(.24 / 50)

def test_groups_that_share_no_lesion_are_resampled_independently():
    from skin_nb.pitfalls import price
    found = price(said(80, 100), said(70, 100, lesion="m"), score="accuracy", n_boot=2000)
    half = 1.96 * np.sqrt(.8 * .2 / 100 + .7 * .3 / 100)
    assert found["difference"] == pytest.approx(.1) and (found["hi"] - found["lo"]) / 2 == pytest.approx(half, rel=.1)

def adds_up(t, a, b):
    assert np.allclose(t[a] - t[b], t.difference, atol=2e-4)
    assert ((t.lo <= t.difference) & (t.difference <= t.hi)).all()

def test_committed_tables_add_up():
    from skin_nb.leakage import COMPARISONS
    from skin_nb.tasks import GROUPS
    groups, differences = (pd.read_csv(RESULTS / "leakage" / f"{name}.csv") for name in ("groups", "differences"))
    adds_up(differences, "of_a", "of_b")
    assert ((groups.lo <= groups.value) & (groups.value <= groups.hi)).all()
    assert set(differences.comparison) == set(COMPARISONS) and set(groups.group) == set(GROUPS)
    value = groups.set_index(["network", "group", "score"]).value
    assert np.allclose(value.loc[list(zip(differences.network, differences.a, differences.score))], differences.of_a)

def test_effect_is_read_from_the_interval():
    from skin_nb.pitfalls import cost_table
    rows = pd.DataFrame(dict(mistake=["a", "b", "c"], note=["", None, "few"], score="accuracy", mistaken=.5, honest=.4, difference=.1, images=9, lo=[.01, -.2, -.1], hi=[.2, -.1, .3]))
    assert cost_table(rows).effect.to_dict() == {"a": "flatters the score", "b": "harms the system", "c (few)": "can't be told from none"}

def test_checks_on_real_data(real_data):
    from skin_nb.experiment import load_data
    from skin_nb.pitfalls import check_features, check_no_label_in_metadata, check_split, place_from_label
    from skin_nb.preparation import encode_metadata, fit_metadata, split_by_image, split_by_lesion
    table = load_data(real_data)
    check_split(split_by_lesion(table))
    with pytest.raises(DataError, match=" lesions in more than one part"): check_split(split_by_image(table))
    encoder = fit_metadata(table)
    check_features(encode_metadata(encoder, table)); check_no_label_in_metadata(lambda t: encode_metadata(encoder, t), table)
    with pytest.raises(DataError, match="rows that change when the labels are shuffled"): check_no_label_in_metadata(place_from_label, table)
