"Splits share nothing they shouldn't; the encoder learns from training rows, travels as JSON."
import json

import numpy as np
import pandas as pd
import pytest

from skin_nb.core import DataError
from skin_nb.preparation import (
    PARTS, PUBLISHED_FILLING, Filling, MetadataEncoder, encode_metadata, fit_metadata,
    lesion_clusters, lesions_shared, plot_split, split_by_image, split_by_lesion, split_official,
    split_report)
from skin_nb.tasks import (
    HAM10000, MELANOMA, as_melanoma, task_in_group, task_of, task_of_classes, with_task)

SHARES = [.08, .1, .12, .07, .13, .43, .07]  # of the classes


@pytest.fixture(scope="module")
def table():
    "300 lesions of one to three pictures, classes in unequal shares, gaps in the metadata."
    rng = np.random.default_rng(0)
    dx = rng.choice(HAM10000.classes, 300, p=SHARES)
    lesion = np.repeat(np.arange(300), rng.integers(1, 4, 300))
    sex = rng.choice(["male", "female", "unknown"], 300, p=[.5, .45, .05])
    site = rng.choice(["back", "face", "foot", "unknown"], 300, p=[.5, .3, .1, .1])
    age = np.where(rng.random(300) < .05, np.nan, rng.integers(2, 18, 300) * 5.)
    lesions = pd.DataFrame(dict(lesion_id=[f"L{i:03}" for i in range(300)], dx=dx, age=age,
                                sex=sex, localization=site))
    rows = lesions.iloc[lesion].reset_index(drop=True)
    rows = rows.assign(image_id=[f"I{i:04}" for i in rng.permutation(len(rows))])
    return with_task(rows, HAM10000)


@pytest.fixture(scope="module")
def patients(table):
    "Melanoma or not; three lesions in a row belong to one patient, who must not be divided."
    number = table.lesion_id.str[1:].astype(int) // 3
    rows = as_melanoma(table).assign(patient_id="P" + number.astype(str))
    return with_task(rows, task_in_group(MELANOMA, "patient_id"))


@pytest.fixture(scope="module")
def own(table):
    "Three classes that nobody registered."
    dx = table.dx.map({"nv": "mole", "mel": "dark"}).fillna("odd")
    return with_task(table.assign(dx=dx), task_of_classes(set(dx)))


@pytest.fixture(scope="module")
def parts(table):
    return split_by_lesion(table)


def train(parts):
    return parts[parts.split == "train"]


def images_of(split, part):
    return set(split.image_id[split.split == part])


# splits

def test_lesion_folds_are_disjoint_and_complete(table):
    folds = [split_by_lesion(table, k) for k in range(5)]
    for f in folds:
        first, second, third = (set(f.lesion_id[f.split == p]) for p in PARTS)
        assert first.isdisjoint(second) and first.isdisjoint(third) and second.isdisjoint(third)
        assert lesions_shared(f) == 0
    tested = sum((f.split == "test").to_numpy().astype(int) for f in folds)
    assert tested.tolist() == [1] * len(table)


def test_fold_definition(table):
    "Folds of `StratifiedGroupKFold(5, shuffle=True, random_state=42)`, rows sorted by image id."
    from sklearn.model_selection import StratifiedGroupKFold
    t = table.sort_values("image_id")
    dealer = StratifiedGroupKFold(5, shuffle=True, random_state=42)
    for k, (_, test) in enumerate(dealer.split(t, t.dx, t.lesion_id)):
        assert images_of(split_by_lesion(table, k), "test") == set(t.image_id.iloc[test])


def test_linked_lesions_stay_together(table):
    rng = np.random.default_rng(1)
    ids = table.lesion_id.unique()
    pairs = pd.DataFrame(dict(lesion_a=rng.choice(ids, 40), lesion_b=rng.choice(ids, 40)))
    assert lesions_shared(split_by_lesion(table), pairs) > 0
    for k in range(5):
        assert lesions_shared(split_by_lesion(table, k, pairs), pairs) == 0


def test_clusters_follow_links_over_several_steps(table):
    ids = sorted(table.lesion_id.unique())
    chain = pd.DataFrame(dict(lesion_a=ids[10:14], lesion_b=ids[11:15]))
    clusters = pd.Series(lesion_clusters(table, chain))
    of_lesion = clusters.groupby(table.lesion_id.to_numpy()).first()
    assert set(of_lesion[ids[10:15]]) == {ids[10]}
    assert of_lesion.nunique() == len(ids) - 4
    others = of_lesion.drop(ids[10:15])
    assert (others == others.index).all()


def test_image_split_leaks_and_the_report_says_so(table, parts):
    by_image = split_by_image(table)
    assert lesions_shared(by_image) > 0
    assert split_report(by_image).loc["lesions shared"].max() > 0
    assert split_report(parts).loc["lesions shared"].tolist() == [0, 0, 0]
    assert plot_split(by_image).get_title().endswith("lesions are in more than one part (hatched)")
    assert plot_split(parts).get_title() == "No lesion is in more than one part"


def test_official_split_refuses_overlap(table):
    names = [f"V{i}" for i in range(30)]
    new = table.head(30).assign(image_id=names, lesion_id=names)
    official = split_official(table, new)
    assert official.image_id[official.split == "test"].tolist() == names
    assert lesions_shared(official) == 0
    assert 0 < len(images_of(official, "valid")) < len(images_of(official, "train"))
    with pytest.raises(DataError, match="image_id"):
        split_official(table, table.head(2))
    with pytest.raises(DataError, match="lesion_id"):
        split_official(table, new.assign(lesion_id=table.lesion_id.iloc[0]))


# any task

def test_a_table_without_a_task_is_split_as_well(table, parts):
    bare = pd.DataFrame(table.to_dict("list"))
    assert not bare.attrs
    split = split_by_lesion(bare)
    assert split.split.tolist() == parts.split.tolist()
    assert split_by_image(bare).split.tolist() == split_by_image(table).split.tolist()
    assert split_report(split).equals(split_report(parts))
    assert plot_split(split).get_title() == "No lesion is in more than one part"
    new = bare.head(9).assign(image_id="V", lesion_id="W")
    assert (split_official(bare, new).split == "test").sum() == 9


def test_splits_keep_the_task(table, own, patients):
    for t in (table, own, patients):
        new = t.head(9).assign(image_id="V", lesion_id="W", patient_id="X")
        bare = pd.DataFrame(new.to_dict("list"))
        for split in (split_by_image(t), split_by_lesion(t), split_official(t, new),
                      split_official(t, bare)):
            assert task_of(split) == task_of(t)


def test_patients_are_not_divided(patients):
    for k in range(5):
        split = split_by_lesion(patients, k)
        assert split.groupby("patient_id").split.nunique().max() == 1
        assert lesions_shared(split) == 0
    report = split_report(split)
    assert report.index.tolist() == ["other", "mel", "images", "patients", "patients shared"]
    assert report.loc["patients"].sum() == patients.patient_id.nunique()
    assert plot_split(split).get_title() == "No patient is in more than one part"
    leaking = split_by_image(patients)
    assert "patients are in more than one part" in plot_split(leaking).get_title()


def test_patients_are_named_where_they_are_the_matter(patients):
    some = patients.patient_id[patients.dx == "mel"].unique()[:4]
    few = patients[(patients.dx != "mel") | patients.patient_id.isin(some)]
    with pytest.raises(DataError, match="4 patients of class mel"):
        split_by_lesion(few)
    new = patients.head(2).assign(image_id=["V", "W"], lesion_id=["V", "W"])
    with pytest.raises(DataError, match="values of patient_id"):
        split_official(patients, new)


def test_linked_patients_stay_together(patients):
    split = split_by_lesion(patients)
    first, second = (split.lesion_id[split.split == p].iloc[0] for p in ("train", "test"))
    link = pd.DataFrame(dict(lesion_a=[first], lesion_b=[second]))
    assert lesions_shared(split, link) == 1
    assert lesions_shared(split_by_lesion(patients, pairs=link), link) == 0


def test_three_classes_of_ones_own(own):
    report = split_report(split_by_lesion(own))
    assert report.index.tolist()[:3] == ["dark", "mole", "odd"]
    assert report.loc[["dark", "mole", "odd"]].sum().sum() == len(own)


# the encoder

FILLINGS = [Filling(), Filling("median"), Filling("median", "mode", "mode"), PUBLISHED_FILLING]
each_filling = pytest.mark.parametrize("filling", FILLINGS, ids=str)


@each_filling
def test_round_trip_as_data(parts, filling):
    encoder = fit_metadata(train(parts), filling)
    back = MetadataEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert back == encoder
    ours = encode_metadata(encoder, parts, parts.dx)
    assert np.array_equal(encode_metadata(back, parts, parts.dx), ours)


def test_same_as_scikit_learn(parts):
    "The rebuilt pipeline against one written down independently."
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    ages = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    words = OneHotEncoder(sparse_output=False)
    theirs = make_column_transformer((ages, ["age"]), (words, ["sex", "localization"]))
    theirs = theirs.fit(train(parts)).transform(parts)
    ours = encode_metadata(fit_metadata(train(parts), Filling("median")), parts)
    assert ours.shape == theirs.shape
    assert np.allclose(ours, theirs, atol=1e-6)  # unknown comes last of the sorted words


def test_learns_from_training_rows_only(parts):
    with pytest.raises(DataError, match="rows of the parts test, valid"):
        fit_metadata(parts)
    trained = parts.split == "train"
    other = parts.assign(age=parts.age.where(trained, 99), sex=parts.sex.where(trained, "male"))
    assert fit_metadata(train(other)) == fit_metadata(train(parts))


def test_unseen_values_and_missing_columns(parts):
    encoder = fit_metadata(train(parts))
    strange = pd.DataFrame(dict(image_id=["a", "b"], localization=["knee", "back"]))
    x = pd.DataFrame(encode_metadata(encoder, strange), columns=encoder.names)
    assert x.localization_unknown.tolist() == [1, 0]
    assert x.localization_back.tolist() == [0, 1]
    assert x.sex_unknown.tolist() == [1, 1]
    assert np.allclose(x.age, 0, atol=1e-6)


def test_the_mode_fills_what_is_unknown(parts):
    encoder = fit_metadata(train(parts), Filling(sex="mode"))
    assert "sex_unknown" not in encoder.names
    x = encode_metadata(encoder, pd.DataFrame(dict(sex=["unknown"])))
    assert x[0, encoder.names.index(f"sex_{encoder.fills['sex']}")] == 1


@pytest.mark.filterwarnings("error")
@each_filling
def test_no_metadata_at_all(parts, filling):
    bare = train(parts)[["image_id", "dx", "split"]]
    x = encode_metadata(fit_metadata(bare, filling), parts, parts.dx)
    assert np.isfinite(x).all()
    assert len(np.unique(x, axis=0)) == 1


def test_label_filling_needs_the_label(parts):
    leaky = fit_metadata(train(parts), PUBLISHED_FILLING)
    for encoder in (leaky, MetadataEncoder.from_dict(leaky.to_dict())):
        with pytest.raises(DataError, match="there is no diagnosis yet"):
            encode_metadata(encoder, parts)


def test_label_filling_gives_the_diagnosis_away(parts):
    leaky = fit_metadata(train(parts), PUBLISHED_FILLING)
    blank = pd.DataFrame(dict(dx=sorted(leaky.sites)))
    x = pd.DataFrame(encode_metadata(leaky, blank, blank.dx), columns=leaky.names)
    filled = x.filter(like="localization_").idxmax(axis=1)
    assert filled.tolist() == [f"localization_{leaky.sites[c]}" for c in blank.dx]


@pytest.mark.parametrize("filling", FILLINGS[:3], ids=str)
def test_label_never_enters_unasked(parts, filling):
    encoder = fit_metadata(train(parts), filling)
    mislabelled = parts.assign(dx="nv", dx_type="histo")
    assert fit_metadata(train(mislabelled), filling) == encoder
    ours = encode_metadata(encoder, parts)
    assert np.array_equal(encode_metadata(encoder, mislabelled), ours)


def test_unknown_filling():
    with pytest.raises(DataError, match="mean or median"):
        Filling(age="zero")


# the real data

@pytest.fixture(scope="module")
def real(real_data):
    from skin_nb.readers import read_ham10000
    return read_ham10000(real_data)


def test_real_published_preparation(real):
    by_image = split_by_image(real)
    test = by_image[by_image.split == "test"]
    assert len(test) == 2_003
    counts = test.dx.value_counts()[list(HAM10000.classes)]
    assert counts.tolist() == [65, 103, 220, 23, 223, 1341, 28]
    published = fit_metadata(train(by_image), PUBLISHED_FILLING)
    assert (published.age_fill, published.fills["sex"]) == (50, "male")
    assert len(published.names) == 17
    assert len(fit_metadata(train(by_image)).names) == 19
