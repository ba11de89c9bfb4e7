"""Balancing: counts to the row, pictures that keep their labels, samplers that see training rows
only, one loss for networks and heads; and the study's bookkeeping."""
import numpy as np
import pandas as pd
import pytest
from skin_nb import balancing
from skin_nb.balancing import (
    FOR_TWO,
    INVENTING,
    SAMPLERS,
    SMOTE_KINDS,
    STRATEGIES,
    Loss,
    Strategy,
    TrainingSet,
    check_pictures,
    class_shift,
    class_weights,
    draw_batches,
    draw_rows,
    drawn_labels,
    effective_number,
    limit_rows,
    make_training_set,
    nearest_own,
    neighbours_for,
    picture_report,
    plot_balance,
    plot_pictures,
    published_columns,
    repeat_rows,
    resample_features,
    row_losses,
    row_weights,
    smote_as_published,
    smotenc_with_pictures,
    strategies_for,
)
from skin_nb.balancing_study import (
    STUDY_SCORES,
    fit_task,
    list_left_out,
    plot_study,
    pooled_predictions,
    study_intervals,
    study_scores,
    task_rows,
)
from skin_nb.core import DataError
from skin_nb.heads import fit_head, fit_split, head_loss, head_probabilities, head_problem
from skin_nb.preparation import split_by_image
from skin_nb.tasks import HAM10000, Task, as_melanoma, with_task

COUNTS = [14, 20, 30, 9, 30, 120, 12]
CLASSES = HAM10000.classes
PLACES = ["back", "face", "foot", "unknown"]


@pytest.fixture(scope="module")
def parts():
    "Rows with metadata and two pictures of some lesions; a test part of a fifth."
    rng = np.random.default_rng(0)
    dx = np.repeat(CLASSES, COUNTS)
    n = len(dx)
    table = pd.DataFrame(
        dict(
            image_id=[f"I{i:03}" for i in range(n)],
            lesion_id=[f"L{i // 2:03}" for i in range(n)],
            dx=dx,
            age=rng.integers(2, 18, n) * 5.,
            sex=rng.choice(["male", "female", "unknown"], n),
            localization=rng.choice(PLACES, n),
        )
    )
    table["age"] = table.age.where(rng.random(n) > .05)
    return split_by_image(with_task(table, HAM10000))


@pytest.fixture(scope="module")
def features(parts):
    rng = np.random.default_rng(1)
    y = HAM10000.codes(parts.dx)
    return (rng.normal(size=(7, 12))[y] + rng.normal(size=(len(y), 12)) * 1.2).astype("float32")


@pytest.fixture(scope="module")
def training_part(parts, features):
    rows = np.flatnonzero(parts.split == "train")
    return features[rows], HAM10000.codes(parts.dx)[rows]


# metadata

def test_published_rows(parts):
    before = parts[parts.split != "test"].dx
    rows = smote_as_published(parts)
    assert rows.dx.value_counts().to_dict() == dict.fromkeys(CLASSES, before.value_counts().max())
    assert (rows.dx[~rows.synthetic].to_numpy() == before.to_numpy()).all()
    assert (~rows.synthetic).sum() == len(before)
    assert set(rows.image_id) <= set(parts.image_id[parts.split != "test"])
    assert published_columns(parts).shape == (len(parts), len(parts) + 1 + 3 + 4)
    assert smote_as_published(parts).equals(rows) and not smote_as_published(parts, 1).equals(rows)


def test_pictures_keep_their_class(parts):
    train = parts[parts.split == "train"]
    paired = smotenc_with_pictures(train)
    lot = smote_as_published(parts)
    truth = parts.set_index("image_id").dx
    assert (truth[paired.image_id].to_numpy() == paired.dx.to_numpy()).all()
    assert set(paired.image_id) <= set(train.image_id)
    assert paired.dx.value_counts().nunique() == 1 and check_pictures(paired) is paired
    assert (paired[~paired.synthetic].image_id.to_numpy() == train.image_id.to_numpy()).all()
    with pytest.raises(DataError, match="pictures that keep their labels"):
        check_pictures(lot)
    wrong = "share with a picture of the wrong class"
    assert picture_report(paired)[wrong] == 0 < .5 < picture_report(lot)[wrong]
    assert plot_pictures(paired).get_title().startswith("0%")
    assert plot_balance(train, paired).get_title().endswith("1.0 to 1 after")


def test_two_classes_are_drawn_as_two(parts):
    question = as_melanoma(parts)
    paired = smotenc_with_pictures(question[question.split == "train"])
    assert set(paired.dx) == {"other", "mel"} and paired.dx.value_counts().nunique() == 1
    assert len(plot_pictures(paired).containers) == 2
    assert len(plot_balance(question, paired).get_xticks()) == 2


def test_invented_metadata_are_possible(parts):
    train = parts[parts.split == "train"]
    new = smotenc_with_pictures(train).query("synthetic")
    assert set(new.sex) <= set(train.sex) and set(new.localization) <= set(train.localization)
    assert new.age.between(train.age.min(), train.age.max()).all()


def test_nearest_own_spreads_ties():
    x = np.zeros((20, 2))
    x[3] = 5
    dx = np.repeat(["df", "nv"], 10)
    found = nearest_own(x, dx, np.array([[0., 0]] * 200 + [[5, 5]]), np.array(["df"] * 201))
    assert found[-1] == 3 and set(found[:-1]) == set(range(10)) - {3}
    assert (nearest_own(x, dx, x[:1], np.array(["nv"])) >= 10).all()


# invented rows

def test_counts_of_smote_and_its_kind(training_part):
    x, y = training_part
    most = np.bincount(y).max()
    after = {name: resample_features(name, x, y) for name in SMOTE_KINDS}
    counts = {name: np.bincount(new_y) for name, (_, new_y) in after.items()}
    for name in ("SMOTE", "Borderline-SMOTE"):
        assert counts[name].tolist() == [most] * 7
    assert (np.abs(counts["ADASYN"] - most) < most / 4).all()
    rows = {name: c.sum() for name, c in counts.items()}
    assert (
        rows["SMOTE-ENN"] < rows["SMOTE-Tomek"] <= rows["SMOTE"] and counts["SMOTE-ENN"].min() > 0
    )
    for name in ("SMOTE", "Borderline-SMOTE", "ADASYN"):
        assert (after[name][0][:len(x)] == x).all()  # real rows first, unchanged


def test_smote_stays_between_rows_of_its_class(training_part):
    x, y = training_part
    new_x, new_y = (a[len(x):] for a in resample_features("SMOTE", x, y))
    for c in np.unique(new_y):
        invented, real = new_x[new_y == c], x[y == c]
        assert (invented >= real.min(0) - 1e-5).all() and (invented <= real.max(0) + 1e-5).all()


def rows_with(y, n):
    "All rows but those of class 3 after the first n."
    return np.flatnonzero((y != 3) | (np.cumsum(y == 3) <= n))


def test_small_classes_are_never_silent(training_part):
    x, y = training_part
    few = rows_with(y, 3)
    with pytest.warns(UserWarning, match="class 3 has 3 rows: 2 neighbours instead of 5"):
        _, after = resample_features("SMOTE", x[few], y[few])
    assert np.bincount(after).tolist() == [np.bincount(y).max()] * 7
    one = rows_with(y, 1)
    for name in SMOTE_KINDS:
        with pytest.raises(DataError, match="one row of class 3"):
            resample_features(name, x[one], y[one])


def test_classes_that_lie_apart_are_never_silent():
    apart = np.r_[np.zeros(8, int), np.ones(30, int)]
    far = apart[:, None] * 100. + np.arange(38)[:, None] * .01
    with pytest.raises(DataError, match="ADASYN can't invent"):
        resample_features("ADASYN", far, apart)
    with pytest.warns(UserWarning, match="Borderline-SMOTE leaves class 0 with 8 rows of 8"):
        resample_features("Borderline-SMOTE", far, apart)


def test_enough_rows_no_note(recwarn):
    assert neighbours_for(np.repeat([0, 1], [6, 9])) == 5 and not recwarn.list


# chosen rows

def test_repeated_rows_come_class_by_class_in_order():
    y = np.array([2, 0, 2, 2, 0])
    assert repeat_rows(y).tolist() == [1, 4, 1, 0, 2, 3]


def test_a_cap_is_random_ordered_and_says_nothing_of_later_rows(training_part):
    _, y = training_part
    kept = limit_rows(y, 8, 3)
    assert np.bincount(y[kept]).tolist() == np.minimum(np.bincount(y), 8).tolist()
    assert (np.diff(kept) > 0).all() and (limit_rows(y, None) == np.arange(len(y))).all()
    assert not np.array_equal(kept, limit_rows(y, 8, 4))


def test_class_weights_are_scikit_learns(training_part):
    from sklearn.utils.class_weight import compute_sample_weight
    _, y = training_part
    assert np.array_equal(class_weights(y), compute_sample_weight("balanced", y).astype("float32"))


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in FOR_TWO])
def test_training_set(name, training_part):
    x, y = training_part
    made, again = (make_training_set(Strategy(name), x, y, 3) for _ in range(2))
    assert made.x.shape == (len(made.y), x.shape[1]) and made.x.dtype == np.float32
    assert set(made.y) == set(drawn_labels(made)) == set(range(7))
    assert row_weights(made).shape == made.y.shape and row_weights(made).dtype == np.float32
    assert row_weights(made).min() >= 0
    for field in ("x", "y", "weights", "rows"):
        assert np.array_equal(getattr(made, field), getattr(again, field))


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in FOR_TWO])
def test_pictures_are_never_invented(name, training_part):
    x, y = training_part
    if name in INVENTING:
        with pytest.raises(DataError, match="invents rows; expected one that keeps every picture"):
            make_training_set(Strategy(name), None, y, 0)
    else:
        made = make_training_set(Strategy(name), None, y, 0)
        assert made.x is None and np.array_equal(made.y, y)
        assert np.array_equal(
            row_weights(made), row_weights(make_training_set(Strategy(name), x, y, 0))
        )


@pytest.mark.parametrize(
    "name", ["random over-sampling", "balanced batches", "SMOTE", "pictures by lot"]
)
def test_seed_matters_where_lots_are_drawn(name, training_part):
    a, b = (SAMPLERS[name](*training_part, seed) for seed in (0, 1))
    assert not np.array_equal(a.x, b.x) or not np.array_equal(a.rows, b.rows)


def test_every_class_has_the_same_say(training_part):
    x, y = training_part
    for name in ("class weights", "repeat", "random over-sampling", "balanced batches"):
        weights = row_weights(SAMPLERS[name](x, y, 0))
        assert np.abs(np.bincount(y, weights) / weights.sum() - 1 / 7).max() < .02, name
    assert set(draw_rows(y)) == set(range(len(y))) and len(draw_batches(y)) == 20 * len(y)
    weights = SAMPLERS["effective number"](x, y, 0).weights
    assert np.allclose(weights * effective_number(np.bincount(y)[y]), 1)


def test_published_rows_have_wrong_pictures(training_part):
    x, y = training_part
    made = SAMPLERS["pictures by lot"](x, y, 0)
    shown = y[[np.flatnonzero((x == v).all(1))[0] for v in made.x]]
    assert np.bincount(made.y).tolist() == [np.bincount(y).max()] * 7
    assert .5 < (shown != made.y).mean() < .9 and (shown == made.y)[:len(x)].all()


# losses

def test_shift_is_the_log_of_the_shares_drawn(training_part):
    _, y = training_part
    assert class_shift(Loss(), y, 7) is None
    assert np.allclose(
        np.exp(class_shift(Loss(logit_adjustment=1.0), y, 7)), np.bincount(y) / len(y)
    )
    even = class_shift(Loss(logit_adjustment=2.), y[repeat_rows(y)], 8)
    assert (
        np.allclose(even[:7], 2 * np.log(1 / 7)) and even[7] < even[0] and even.dtype == np.float32
    )


def test_losses_of_known_rows():
    log_p = np.log([[.9, .1], [.2, .8]])
    target = np.eye(2)
    assert np.allclose(row_losses(log_p, target), [-np.log(.9), -np.log(.8)])
    assert np.allclose(
        row_losses(log_p, target, Loss(focal=2.)), [-.01 * np.log(.9), -.04 * np.log(.8)]
    )
    smoothed = -.95 * np.log(.9) - .05 * np.log(.1)
    assert np.isclose(row_losses(log_p, target, Loss(label_smoothing=.1))[0], smoothed)


@pytest.mark.parametrize("n_classes", [2, 3, 7, 8])
@pytest.mark.parametrize("loss", [Loss(), Loss(focal=2.), Loss(logit_adjustment=1.2, focal=1.5)])
def test_a_head_minimises_the_mean_of_row_losses(loss, n_classes):
    from scipy.special import log_softmax
    rng = np.random.default_rng(0)
    rows = TrainingSet(rng.normal(size=(40, 3)), rng.integers(0, n_classes, 40), rng.random(40),
                       rng.integers(0, 40, 60))

    def mean(w):
        shift = class_shift(loss, drawn_labels(rows), n_classes)
        logits = rows.x @ w[:-1] + w[-1] + (0 if shift is None else shift)
        losses = row_losses(log_softmax(logits, axis=1), np.eye(n_classes)[rows.y], loss)
        return np.average(losses, weights=row_weights(rows))

    w, step = rng.normal(size=(2, 4, n_classes))
    value, slope = head_loss(w, head_problem(rows, loss, n_classes=n_classes))
    assert value == pytest.approx(mean(w), rel=1e-9)
    by_differences = (mean(w + 1e-5 * step) - mean(w - 1e-5 * step)) / 2e-5
    assert (slope * step).sum() == pytest.approx(by_differences, rel=1e-5)


def test_what_a_head_cannot_learn_is_refused(training_part):
    with pytest.raises(DataError, match="heads know none"):
        fit_head(TrainingSet(*training_part), Loss(label_smoothing=.1))


def test_a_class_without_rows_keeps_its_column(training_part):
    x, y = training_part
    without = y != 3
    for loss in (Loss(), Loss(logit_adjustment=1.)):
        w = fit_head(TrainingSet(x[without], y[without]), loss, n_classes=7)
        assert head_probabilities(w, x).shape == (len(x), 7)


# strategies

def test_fourteen_strategies():
    assert len(strategies_for(7)) == 14 and {"nothing", "SMOTE as published", *SMOTE_KINDS} <= set(
        STRATEGIES
    )
    assert STRATEGIES["nothing"] == Strategy()


@pytest.mark.parametrize("make, found", [
    (lambda: Strategy("magic"), "sampler 'magic'; expected one of all rows"),
    (lambda: Loss(focal=-1.), "focal=-1.0"),
    (lambda: Loss(label_smoothing=1.), "label_smoothing=1.0")])
def test_what_cannot_be_is_refused_when_it_is_made(make, found):
    with pytest.raises(DataError, match=found):
        make()


@pytest.mark.parametrize("name", strategies_for(7))
def test_test_rows_teach_nothing(name, parts, features):
    """Other test pictures, other test labels: what the head says about the validation part is the
    same."""
    rng = np.random.default_rng(0)
    test = (parts.split == "test").to_numpy()
    other = features.copy()
    other[test] = rng.normal(size=(test.sum(), features.shape[1]))
    changed = parts.assign(dx=np.where(test, "nv", parts.dx))

    def said(table, x):
        predictions = fit_split(table, x, STRATEGIES[name], penalties=(1e-2,))
        return predictions.query("split == 'valid'")[HAM10000.p_columns].to_numpy()

    assert np.array_equal(said(parts, features), said(changed, other))


def test_a_sampler_of_ones_own(parts, features):
    def labels_shuffled(x, y, seed):
        return TrainingSet(x, np.random.default_rng(seed).permutation(y))

    def right(predictions):
        test = predictions[predictions.split == "test"]
        return (test[HAM10000.p_columns].to_numpy().argmax(1) == HAM10000.codes(test.dx)).mean()

    plain = fit_split(parts, features, penalties=(1e-2,))
    assert right(fit_split(parts, features, sampler=labels_shuffled, penalties=(1e-2,))) < right(
        plain
    )
    assert plain.attrs["l2"] == 1e-2


def test_other_questions(parts, features):
    pets = Task("pets", ("cat", "cow", "dog"))
    three = with_task(parts.assign(dx=np.resize(pets.classes, len(parts))), pets)
    for table, classes in ((as_melanoma(parts), ("other", "mel")), (three, pets.classes)):
        for name in ("logit adjustment", "balanced batches", "SMOTE as published"):
            found = fit_split(table, features, STRATEGIES[name], penalties=(1e-2,))
            assert [c for c in found if c.startswith("p_")] == [f"p_{c}" for c in classes]


# the study

@pytest.fixture(scope="module")
def tasks(parts, features, tmp_path_factory):
    few = {n: STRATEGIES[n] for n in ("nothing", "random over-sampling", "SMOTE as published")}
    folder = tmp_path_factory.mktemp("tasks")
    return {(0, s): fit_task(parts, features, few, folder / f"{s}.npz", 8, s) for s in (0, 1)}


def test_a_finished_task_is_not_repeated(parts, features, tasks):
    path = tasks[0, 0]
    before = path.read_bytes()
    assert fit_task(parts, features, {}, path) == path and path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir() if "tmp" in p.name] == []


def test_a_killed_task_leaves_nothing(parts, features, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt
    monkeypatch.setitem(balancing.SAMPLERS, "killed", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_task(
            parts,
            features,
            dict(nothing=Strategy(), killed=Strategy("killed")),
            tmp_path / "0.npz",
            8,
        )
    assert list(tmp_path.iterdir()) == []


def test_what_the_rows_do_not_allow_is_left_out(parts, features, tmp_path, monkeypatch):
    def refuses(x, y, seed):
        neighbours_for(np.array([0, 1, 1]))
    monkeypatch.setitem(balancing.SAMPLERS, "refuses", refuses)
    few = dict(nothing=Strategy(), refuses=Strategy("refuses"))
    path = fit_task(parts, features, few, tmp_path / "0.npz", 8)
    [line] = list_left_out([path])
    assert line.startswith("refuses is left out: ") and "one row of class 0" in line
    assert list(pooled_predictions({(0, 0): path})[1]) == ["nothing"]


def test_scores_of_a_task(parts, tasks):
    from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score
    y = HAM10000.codes(parts.dx)
    row = task_rows(parts, tasks[0, 0], fold=0, seed=0)[1]
    with np.load(tasks[0, 0]) as kept:
        rows, p = kept["rows"], kept["random over-sampling"]
    assert (rows == np.flatnonzero(parts.split == "test")).all()
    assert row["strategy"] == "random over-sampling" and row["seed"] == 0
    both = y[rows], p.argmax(1)
    assert np.isclose(row["balanced_accuracy"], balanced_accuracy_score(*both))
    assert np.isclose(row["macro_f1"], f1_score(*both, average="macro"))
    assert np.isclose(row["mel_sensitivity"], recall_score(*both, labels=[4], average="macro"))


def test_intervals_are_paired(parts, tasks):
    rows, predictions = pooled_predictions(tasks)
    assert predictions["nothing"].shape == (2, len(rows), 7)
    twice = predictions | {"the same": predictions["nothing"]}
    t = study_intervals(parts.iloc[rows], twice, n_boot=60).set_index(["strategy", "score"])
    assert len(t) == 4 * len(STUDY_SCORES)
    ends = ["vs_nothing", "vs_nothing_lo", "vs_nothing_hi"]
    assert (t.loc["the same", ends] == 0).all(axis=None)  # not so for independent draws
    assert (t.pooled_lo <= t.pooled_hi).all() and (
        t.vs_oversampling_lo <= t.vs_oversampling_hi
    ).all()
    y = HAM10000.codes(parts.dx)[rows]
    mean = np.mean([study_scores(y, p)["macro_f1"] for p in predictions["nothing"]])
    assert np.isclose(t.pooled["nothing", "macro_f1"], mean)
    panels = plot_study(t.reset_index().assign(network="one")).axes
    assert panels[0].get_xlabel() == "balanced accuracy" and len(panels) == 4


def test_a_study_without_melanomas(parts, features, tmp_path):
    pets = Task("pets", ("cat", "cow", "dog"))
    table = with_task(parts.assign(dx=np.resize(pets.classes, len(parts))), pets)
    few = {n: STRATEGIES[n] for n in ("nothing", "random over-sampling")}
    path = fit_task(table, features, few, tmp_path / "0.npz", 8)
    rows, predictions = pooled_predictions({(0, 0): path})
    t = study_intervals(table.iloc[rows], predictions, n_boot=20)
    assert set(t.score) == set(STUDY_SCORES) - {"mel_sensitivity"}
    assert "mel_sensitivity" not in task_rows(table, path)[0]
    assert len(plot_study(t.assign(network="one")).axes) == 3


# the real data

def test_real_published_smote(real_data):
    from skin_nb.readers import read_ham10000
    table = split_by_image(read_ham10000(real_data))
    rows = smote_as_published(table)
    assert published_columns(table).shape == (10_015, 10_034) and (~rows.synthetic).sum() == 8_012
    assert len(rows) == 37_548 and rows.dx.value_counts().to_dict() == dict.fromkeys(CLASSES, 5_364)
    report = picture_report(rows)
    assert round(report["share invented"], 3) == .787
    assert round(report["share with a picture of the wrong class"], 3) == .744
    with pytest.raises(DataError, match="pictures that keep their labels"):
        check_pictures(rows)
