"Splits share nothing they shouldn't; the encoder learns from training rows, travels as JSON, and knows no diagnosis."
import json
import numpy as np, pandas as pd
import pytest
from skin_nb.core import CLASSES, DataError
from skin_nb.preparation import (PARTS, PUBLISHED_FILLING, Filling, MetadataEncoder, encode_metadata, fit_metadata, lesion_clusters, lesions_shared,
                                 plot_split, split_by_image, split_by_lesion, split_official, split_report)

@pytest.fixture(scope="module")
def table():
    "Six hundred rows: two or three pictures a lesion, classes in unequal shares, gaps in the metadata."
    rng = np.random.default_rng(0)
    dx = rng.choice(CLASSES, 300, p=[.08, .1, .12, .07, .13, .43, .07])
    lesion = np.repeat(np.arange(300), rng.integers(1, 4, 300))
    sex, site = rng.choice(["male", "female", "unknown"], 300, p=[.5, .45, .05]), rng.choice(["back", "face", "foot", "unknown"], 300, p=[.5, .3, .1, .1])
    age = np.where(rng.random(300) < .05, np.nan, rng.integers(2, 18, 300) * 5.)
    rows = pd.DataFrame(dict(lesion_id=[f"L{i:03}" for i in lesion], dx=dx[lesion], age=age[lesion], sex=sex[lesion], localization=site[lesion]))
    return rows.assign(image_id=[f"I{i:04}" for i in rng.permutation(len(rows))])

@pytest.fixture(scope="module")
def parts(table): return split_by_lesion(table)

def train(parts): return parts[parts.split == "train"]

# splits

def test_lesion_folds_are_disjoint_and_complete(table):
    folds = [split_by_lesion(table, k) for k in range(5)]
    for f in folds:
        lesions = [set(f.lesion_id[f.split == p]) for p in PARTS]
        assert not (lesions[0] & lesions[1] or lesions[0] & lesions[2] or lesions[1] & lesions[2]) and lesions_shared(f) == 0
    assert sum((f.split == "test").to_numpy().astype(int) for f in folds).tolist() == [1] * len(table)

def test_fold_definition(table):
    "Folds of `StratifiedGroupKFold(5, shuffle=True, random_state=42)` on the table sorted by image id."
    from sklearn.model_selection import StratifiedGroupKFold
    t = table.sort_values("image_id")
    for k, (_, test) in enumerate(StratifiedGroupKFold(5, shuffle=True, random_state=42).split(t, t.dx, t.lesion_id)):
        ours = split_by_lesion(table, k)
        assert set(t.image_id.iloc[test]) == set(ours.image_id[ours.split == "test"])

def test_linked_lesions_stay_together(table):
    rng, ids = np.random.default_rng(1), table.lesion_id.unique()
    pairs = pd.DataFrame(dict(lesion_a=rng.choice(ids, 40), lesion_b=rng.choice(ids, 40)))
    assert lesions_shared(split_by_lesion(table), pairs) > 0
    for k in range(5): assert lesions_shared(split_by_lesion(table, k, pairs), pairs) == 0

def test_clusters_follow_links_over_several_steps(table):
    ids = sorted(table.lesion_id.unique())
    chain = pd.DataFrame(dict(lesion_a=ids[10:14], lesion_b=ids[11:15]))
    cluster = pd.Series(lesion_clusters(table, chain)).groupby(table.lesion_id.to_numpy()).first()
    assert set(cluster[ids[10:15]]) == {ids[10]} and cluster.nunique() == len(ids) - 4
    assert (cluster.drop(ids[10:15]) == cluster.drop(ids[10:15]).index).all()

def test_image_split_leaks_and_the_report_says_so(table):
    by_image = split_by_image(table)
    assert lesions_shared(by_image) > 0 and split_report(by_image).loc["lesions shared"].max() > 0
    assert split_report(split_by_lesion(table)).loc["lesions shared"].tolist() == [0, 0, 0]
    assert [plot_split(t).get_title().startswith("No lesion") for t in (by_image, split_by_lesion(table))] == [False, True]

def test_official_split_refuses_overlap(table):
    new = table.head(30).assign(image_id=[f"V{i}" for i in range(30)], lesion_id=[f"W{i}" for i in range(30)])
    official = split_official(table, new)
    assert official.image_id[official.split == "test"].tolist() == new.image_id.tolist() and lesions_shared(official) == 0
    assert 0 < (official.split == "valid").sum() < (official.split == "train").sum()
    with pytest.raises(DataError, match="image_id"): split_official(table, table.head(2))
    with pytest.raises(DataError, match="lesion_id"): split_official(table, new.assign(lesion_id=table.lesion_id.iloc[0]))

# the encoder

FILLINGS = [Filling(), Filling("median"), Filling("median", "mode", "mode"), PUBLISHED_FILLING]

@pytest.mark.parametrize("filling", FILLINGS, ids=str)
def test_round_trip_as_data(parts, filling):
    encoder = fit_metadata(train(parts), filling)
    back = MetadataEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert back == encoder and np.array_equal(encode_metadata(back, parts, parts.dx), encode_metadata(encoder, parts, parts.dx))

def test_same_as_scikit_learn(parts):
    "The rebuilt pipeline against one written down independently."
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    x = encode_metadata(fit_metadata(train(parts), Filling("median")), parts)
    theirs = make_column_transformer((make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["age"]), (OneHotEncoder(sparse_output=False), ["sex", "localization"]))
    theirs = theirs.fit(train(parts)).transform(parts)
    assert x.shape == theirs.shape and np.allclose(x, theirs, atol=1e-6)   # unknown comes last of the sorted words

def test_learns_from_training_rows_only(parts):
    with pytest.raises(DataError, match="rows of the parts test, valid"): fit_metadata(parts)
    other = parts.assign(age=parts.age.where(parts.split == "train", 99), sex=parts.sex.where(parts.split == "train", "male"))
    assert fit_metadata(train(other)) == fit_metadata(train(parts))

def test_unseen_values_and_missing_columns(parts):
    encoder = fit_metadata(train(parts))
    x = pd.DataFrame(encode_metadata(encoder, pd.DataFrame(dict(image_id=["a", "b"], localization=["knee", "back"]))), columns=encoder.names)
    assert x.localization_unknown.tolist() == [1, 0] and x.localization_back.tolist() == [0, 1]
    assert x.sex_unknown.tolist() == [1, 1] and np.allclose(x.age, 0, atol=1e-6)
    mode = fit_metadata(train(parts), Filling(sex="mode"))
    assert "sex_unknown" not in mode.names and encode_metadata(mode, pd.DataFrame(dict(sex=["unknown"])))[0, mode.names.index(f"sex_{mode.fills['sex']}")] == 1

@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("filling", FILLINGS, ids=str)
def test_no_metadata_at_all(parts, filling):
    bare = train(parts)[["image_id", "dx", "split"]]
    x = encode_metadata(fit_metadata(bare, filling), parts, parts.dx)
    assert np.isfinite(x).all() and len(np.unique(x, axis=0)) == 1

def test_label_filling_needs_the_label(parts):
    leaky = fit_metadata(train(parts), PUBLISHED_FILLING)
    with pytest.raises(DataError, match="there is no diagnosis yet"): encode_metadata(leaky, parts)
    with pytest.raises(DataError, match="there is no diagnosis yet"): encode_metadata(MetadataEncoder.from_dict(leaky.to_dict()), parts)
    blank = pd.DataFrame(dict(dx=sorted(leaky.sites)))
    told = np.array(leaky.names)[encode_metadata(leaky, blank, blank.dx)[:, leaky.names.index("localization_back"):].argmax(1) + leaky.names.index("localization_back")]
    assert told.tolist() == [f"localization_{leaky.sites[c]}" for c in blank.dx]

def test_label_never_enters_unasked(parts):
    for filling in FILLINGS[:3]:
        encoder = fit_metadata(train(parts), filling)
        assert fit_metadata(train(parts).assign(dx="nv", dx_type="histo"), filling) == encoder
        assert np.array_equal(encode_metadata(encoder, parts.assign(dx="nv", dx_type="histo")), encode_metadata(encoder, parts))

def test_unknown_filling():
    with pytest.raises(DataError, match="mean or median"): Filling(age="zero")

# the real data

@pytest.fixture(scope="module")
def real(real_data):
    from skin_nb.readers import read_ham10000
    return read_ham10000(real_data)

def test_real_published_preparation(real):
    by_image = split_by_image(real)
    test = by_image[by_image.split == "test"]
    assert len(test) == 2_003 and test.dx.value_counts()[list(CLASSES)].tolist() == [65, 103, 220, 23, 223, 1341, 28]
    published = fit_metadata(by_image[by_image.split == "train"], PUBLISHED_FILLING)
    assert published.age_fill == 50 and published.fills["sex"] == "male" and len(published.names) == 17
    assert len(fit_metadata(by_image[by_image.split == "train"]).names) == 19
