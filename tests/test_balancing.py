"Balancing: counts to the row, pictures that keep their labels, strategies that see training rows only; and the study's bookkeeping."
import numpy as np, pandas as pd
import pytest
from skin_nb.balancing import (SAMPLERS, STRATEGIES, check_pictures, draw_batches, draw_rows, effective_number, nearest_own, neighbours_for, picture_report,
                               plot_balance, plot_pictures, published_columns, resample_features, smote_as_published, smotenc_with_pictures)
from skin_nb.balancing_study import SCORES, fit_task, plot_study, pooled_answers, study_intervals, study_scores, task_rows
from skin_nb.core import CLASSES, DataError
from skin_nb.heads import fit_split
from skin_nb.preparation import split_by_image

COUNTS = [14, 20, 30, 9, 30, 120, 12]

@pytest.fixture(scope="module")
def parts():
    "Rows with metadata and two pictures of some lesions; a test part of a fifth."
    rng, dx = np.random.default_rng(0), np.repeat(CLASSES, COUNTS)
    t = pd.DataFrame(dict(image_id=[f"I{i:03}" for i in range(len(dx))], lesion_id=[f"L{i // 2:03}" for i in range(len(dx))], dx=dx, age=rng.integers(2, 18, len(dx)) * 5.,
                          sex=rng.choice(["male", "female", "unknown"], len(dx)), localization=rng.choice(["back", "face", "foot", "unknown"], len(dx))))
    return split_by_image(t.assign(age=t.age.where(rng.random(len(dx)) > .05)))

@pytest.fixture(scope="module")
def features(parts):
    rng, y = np.random.default_rng(1), pd.Categorical(parts.dx, CLASSES).codes
    return (rng.normal(size=(7, 12))[y] + rng.normal(size=(len(y), 12)) * 1.2).astype("float32")

@pytest.fixture(scope="module")
def lesson_input(parts, features):
    rows = np.flatnonzero(parts.split == "train")
    return features[rows], pd.Categorical(parts.dx, CLASSES).codes.astype(int)[rows], rows

# metadata

def test_published_rows(parts):
    before, rows = parts[parts.split != "test"].dx, smote_as_published(parts)
    assert rows.dx.value_counts().to_dict() == dict.fromkeys(CLASSES, before.value_counts().max())
    assert (rows.dx[~rows.synthetic].to_numpy() == before.to_numpy()).all() and (~rows.synthetic).sum() == len(before)
    assert set(rows.image_id) <= set(parts.image_id[parts.split != "test"])
    assert published_columns(parts).shape == (len(parts), len(parts) + 1 + 3 + 4)
    assert smote_as_published(parts).equals(rows) and not smote_as_published(parts, 1).equals(rows)

def test_pictures_keep_their_class(parts):
    train = parts[parts.split == "train"]
    own, lot = smotenc_with_pictures(train), smote_as_published(parts)
    truth = parts.set_index("image_id").dx
    assert (truth[own.image_id].to_numpy() == own.dx.to_numpy()).all() and set(own.image_id) <= set(train.image_id)
    assert own.dx.value_counts().nunique() == 1 and check_pictures(own) is own
    assert (own[~own.synthetic].image_id.to_numpy() == train.image_id.to_numpy()).all()
    with pytest.raises(DataError, match="pictures that keep their labels"): check_pictures(lot)
    assert picture_report(own)["share with a picture of the wrong class"] == 0 < .5 < picture_report(lot)["share with a picture of the wrong class"]
    assert plot_pictures(own).get_title().startswith("0%") and plot_balance(train.dx, own.dx).get_title().endswith("1.0 to 1 after")

def test_invented_metadata_are_possible(parts):
    train = parts[parts.split == "train"]
    new = smotenc_with_pictures(train).query("synthetic")
    assert set(new.sex) <= set(train.sex) and set(new.localization) <= set(train.localization) and new.age.between(train.age.min(), train.age.max()).all()

def test_nearest_own_spreads_ties():
    x, dx = np.zeros((20, 2)), np.repeat(["df", "nv"], 10)
    x[3] = 5
    found = nearest_own(x, dx, np.array([[0., 0]] * 200 + [[5, 5]]), np.array(["df"] * 201))
    assert set(found) == set(range(10)) and found[-1] == 3 and set(found[:-1]) == set(range(10)) - {3}
    assert (nearest_own(x, dx, x[:1], np.array(["nv"])) >= 10).all()

# features

def test_counts_of_samplers(lesson_input):
    x, y, _ = lesson_input
    most = np.bincount(y).max()
    after = {name: resample_features(name, x, y) for name in SAMPLERS}
    for name in "SMOTE", "Borderline-SMOTE": assert np.bincount(after[name][1]).tolist() == [most] * 7
    assert (np.abs(np.bincount(after["ADASYN"][1]) - most) < most / 4).all()
    assert len(after["SMOTE-ENN"][0]) < len(after["SMOTE-Tomek"][0]) <= len(after["SMOTE"][0]) and set(after["SMOTE-ENN"][1]) == set(range(7))
    for name in "SMOTE", "Borderline-SMOTE", "ADASYN": assert (after[name][0][:len(x)] == x).all()   # real rows first, unchanged

def test_smote_stays_between_rows_of_its_class(lesson_input):
    x, y, _ = lesson_input
    new_x, new_y = (a[len(x):] for a in resample_features("SMOTE", x, y))
    for c in np.unique(new_y): assert (new_x[new_y == c] >= x[y == c].min(0) - 1e-5).all() and (new_x[new_y == c] <= x[y == c].max(0) + 1e-5).all()

def test_small_classes_are_never_silent(lesson_input):
    x, y, _ = lesson_input
    few = np.flatnonzero((y != 3) | (np.cumsum(y == 3) <= 3))
    with pytest.warns(UserWarning, match="class 3 has 3 rows: 2 neighbours instead of 5"): _, after = resample_features("SMOTE", x[few], y[few])
    assert np.bincount(after).tolist() == [np.bincount(y).max()] * 7
    one = np.flatnonzero((y != 3) | (np.cumsum(y == 3) <= 1))
    for name in SAMPLERS:
        with pytest.raises(DataError, match="one row of class 3"): resample_features(name, x[one], y[one])
    apart = np.r_[np.zeros(8, int), np.ones(30, int)]
    far = apart[:, None] * 100. + np.arange(38)[:, None] * .01
    with pytest.raises(DataError, match="ADASYN can't invent"): resample_features("ADASYN", far, apart)
    with pytest.warns(UserWarning, match="Borderline-SMOTE leaves class 0 with 8 rows of 8"): resample_features("Borderline-SMOTE", far, apart)

def test_enough_rows_no_note(recwarn):
    assert neighbours_for(np.repeat([0, 1], [6, 9])) == 5 and not recwarn.list

# strategies

def test_fourteen_strategies(): assert len(STRATEGIES) == 14 and {"nothing", "SMOTE as published", *SAMPLERS} <= set(STRATEGIES)

@pytest.mark.parametrize("name", STRATEGIES)
def test_lesson(name, lesson_input):
    x, y, rows = lesson_input
    lesson, again = (STRATEGIES[name](x, y, rows, 3) for _ in range(2))
    assert lesson.x.shape == (len(lesson.y), x.shape[1]) and lesson.x.dtype == np.float32 and set(lesson.y) == set(range(7))
    assert lesson.weights is None or lesson.weights.shape == lesson.y.shape and lesson.weights.min() >= 0
    assert lesson.shift is None or lesson.shift.shape == (7,)
    assert np.array_equal(lesson.x, again.x) and np.array_equal(lesson.y, again.y) and np.array_equal(lesson.weights, again.weights)

@pytest.mark.parametrize("name", ["random over-sampling", "balanced batches", "SMOTE", "SMOTE as published"])
def test_seed_matters_where_lots_are_drawn(name, lesson_input):
    a, b = (STRATEGIES[name](*lesson_input, s) for s in (0, 1))
    assert not np.array_equal(a.x, b.x) or not np.array_equal(a.weights, b.weights)

@pytest.mark.parametrize("name", STRATEGIES)
def test_test_rows_teach_nothing(name, parts, features):
    "Other test pictures, other test labels: the head, and with it what it says about the validation part, is the same."
    rng, test = np.random.default_rng(0), (parts.split == "test").to_numpy()
    other = features.copy()
    other[test] = rng.normal(size=(test.sum(), features.shape[1]))
    changed = parts.assign(dx=np.where(test, "nv", parts.dx))
    said = [fit_split(t, x, STRATEGIES[name], penalties=(1e-2,)).query("split == 'valid'").filter(like="p_").to_numpy() for t, x in ((parts, features), (changed, other))]
    assert np.array_equal(*said)

def test_every_class_has_the_same_say(lesson_input):
    _, y, _ = lesson_input
    for name in "class weights", "random over-sampling", "balanced batches", "focal loss, class weights":
        lesson = STRATEGIES[name](*lesson_input, 0)
        share = np.bincount(y, lesson.weights) / lesson.weights.sum()
        assert np.abs(share - 1 / 7).max() < .02, name
    assert draw_rows(y).min() == 1 and draw_batches(y).sum() == 20 * len(y)
    weights = STRATEGIES["class-balanced loss"](*lesson_input, 0).weights
    assert np.allclose(weights * effective_number(np.bincount(y)[y]), 1)
    assert np.allclose(np.exp(STRATEGIES["logit adjustment"](*lesson_input, 0).shift), np.bincount(y) / len(y))

def test_published_lesson_has_wrong_pictures(lesson_input):
    x, y, rows = lesson_input
    lesson = STRATEGIES["SMOTE as published"](x, y, rows, 0)
    shown = y[[np.flatnonzero((x == v).all(1))[0] for v in lesson.x]]
    assert np.bincount(lesson.y).tolist() == [np.bincount(y).max()] * 7 and .5 < (shown != lesson.y).mean() < .9 and (shown == lesson.y)[:len(x)].all()

# the study

@pytest.fixture(scope="module")
def tasks(parts, features, tmp_path_factory):
    few, folder = {n: STRATEGIES[n] for n in ("nothing", "random over-sampling", "SMOTE as published")}, tmp_path_factory.mktemp("tasks")
    return {(0, s): fit_task(parts, features, few, folder / f"{s}.npz", 8, s) for s in (0, 1)}

def test_a_finished_task_is_not_repeated(parts, features, tasks):
    path = tasks[0, 0]
    before = path.read_bytes()
    assert fit_task(parts, features, {}, path) == path and path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir() if "tmp" in p.name] == []

def test_a_killed_task_leaves_nothing(parts, features, tmp_path):
    def killed(*_): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): fit_task(parts, features, dict(nothing=STRATEGIES["nothing"], killed=killed), tmp_path / "0.npz", 8)
    assert list(tmp_path.iterdir()) == []

def test_what_the_rows_do_not_allow_is_left_out(parts, features, tmp_path, capsys):
    def refuses(x, y, rows, seed): neighbours_for(np.array([0, 1, 1]))
    path = fit_task(parts, features, dict(nothing=STRATEGIES["nothing"], refuses=refuses), tmp_path / "0.npz", 8)
    assert "refuses is left out" in (said := capsys.readouterr().out) and "one row of class 0" in said
    assert list(pooled_answers({(0, 0): path})[1]) == ["nothing"]

def test_scores_of_a_task(parts, tasks):
    from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score
    y = pd.Categorical(parts.dx, CLASSES).codes.astype(int)
    row = task_rows(y, tasks[0, 0], fold=0, seed=0)[1]
    with np.load(tasks[0, 0]) as kept: rows, p = kept["rows"], kept["random over-sampling"]
    assert (rows == np.flatnonzero(parts.split == "test")).all() and row["strategy"] == "random over-sampling"
    said = y[rows], p.argmax(1)
    assert np.isclose(row["balanced_accuracy"], balanced_accuracy_score(*said)) and np.isclose(row["macro_f1"], f1_score(*said, average="macro"))
    assert np.isclose(row["mel_sensitivity"], recall_score(*said, labels=[4], average="macro"))

def test_intervals_are_paired(parts, tasks):
    y = pd.Categorical(parts.dx, CLASSES).codes.astype(int)
    rows, answers = pooled_answers(tasks)
    t = study_intervals(y[rows], parts.lesion_id.to_numpy()[rows], answers | {"the same": answers["nothing"]}, n_boot=60).set_index(["strategy", "score"])
    assert len(t) == 4 * len(SCORES) and answers["nothing"].shape == (2, len(rows), 7)
    assert (t.loc["the same", ["vs_nothing", "vs_nothing_lo", "vs_nothing_hi"]] == 0).all(axis=None)   # not so for independent draws
    assert (t.pooled_lo <= t.pooled_hi).all() and (t.vs_oversampling_lo <= t.vs_oversampling_hi).all()
    mean = np.mean([study_scores(y[rows], p)["macro_f1"] for p in answers["nothing"]])
    assert np.isclose(t.pooled["nothing", "macro_f1"], mean)
    assert plot_study(t.reset_index().assign(network="one")).axes[0].get_xlabel() == "balanced accuracy"

# the real data

def test_real_published_smote(real_data):
    from skin_nb.readers import read_ham10000
    table = split_by_image(read_ham10000(real_data))
    rows = smote_as_published(table)
    assert published_columns(table).shape == (10_015, 10_034) and (~rows.synthetic).sum() == 8_012
    assert len(rows) == 37_548 and rows.dx.value_counts().to_dict() == dict.fromkeys(CLASSES, 5_364)
    report = picture_report(rows)
    assert round(report["share invented"], 3) == .787 and round(report["share with a picture of the wrong class"], 3) == .744
    with pytest.raises(DataError, match="pictures that keep their labels"): check_pictures(rows)
