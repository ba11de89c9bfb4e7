"Scores against scikit-learn, the challenge's scorer and a slow loop; the evaluate command in every layout."
import json, subprocess, sys
from types import SimpleNamespace
import numpy as np, pandas as pd, pytest
from PIL import Image
from sklearn import metrics as skm
from skin_nb.commands import evaluate_command
from skin_nb.core import CLASSES, DataError, MALIGNANT
from skin_nb.readers import COLUMNS
from skin_nb.evaluation import (
    SUBMISSION_COLUMNS, average_lesions, bootstrap_scores, bootstrap_weights, brier_score,
    calibration_error, choose_alarm, class_report, confusion_scores, evaluate, paired_difference,
    ranking_scores, score_table, sensitive_threshold, specific_threshold, split_arrays,
    weighted_confusion, weighted_scores, write_submission)
from skin_nb.predictions import (
    P_COLUMNS, check_predictions, invent_predictions, predictions_table, read_predictions,
    write_predictions)

@pytest.fixture(scope="module")
def predictions(): return pd.concat([invent_predictions(300), invent_predictions(200, seed=1, split="valid")], ignore_index=True)

@pytest.fixture(scope="module")
def arrays(predictions): return split_arrays(predictions)

@pytest.fixture(scope="module")
def metrics(predictions): return evaluate(predictions, n_boot=200)

def refused(call, *said):
    with pytest.raises(DataError) as e: call()
    for text in said: assert text in str(e.value)
    assert all(p.fix and p.expected for p in e.value.problems)

# values

def test_whole_scores_are_those_of_scikit_learn(arrays, metrics):
    y, p, _ = arrays
    guess, hot = p.argmax(1), np.eye(7)[y]
    expected = dict(balanced_accuracy=skm.balanced_accuracy_score(y, guess), accuracy=skm.accuracy_score(y, guess), macro_f1=skm.f1_score(y, guess, average="macro"),
                    weighted_f1=skm.f1_score(y, guess, average="weighted"), auc=skm.roc_auc_score(y, p, multi_class="ovr"),
                    average_precision=skm.average_precision_score(hot, p, average="macro"), brier=((p - hot) ** 2).sum(1).mean(), mel_sensitivity=(guess[y == 4] == 4).mean())
    assert {k: metrics[k] for k in expected} == pytest.approx(expected, abs=1e-12)
    assert metrics["constant_accuracy"] == (y == 5).mean() and metrics["constant_class"] == "nv"

def test_class_scores_are_those_of_scikit_learn(arrays, metrics):
    y, p, _ = arrays
    precision, recall, f1, support = skm.precision_recall_fscore_support(y, p.argmax(1), labels=range(7), zero_division=0)
    for k, c in enumerate(CLASSES):
        expected = dict(precision=precision[k], recall=recall[k], f1=f1[k], support=support[k], auc=skm.roc_auc_score(y == k, p[:, k]),
                        average_precision=skm.average_precision_score(y == k, p[:, k]))
        assert metrics["per_class"][c] == pytest.approx(expected, abs=1e-12)
    assert np.array_equal(metrics["confusion"], skm.confusion_matrix(y, p.argmax(1), labels=range(7)))

def test_malignant_against_benign(predictions, arrays, metrics):
    y, p, _ = arrays
    sick, score = predictions.query("split == 'test'").dx.isin(MALIGNANT), p[:, [0, 1, 4]].sum(1)
    assert metrics["malignant_auc"] == pytest.approx(skm.roc_auc_score(sick, score), abs=1e-12)
    assert metrics["malignant_average_precision"] == pytest.approx(skm.average_precision_score(sick, score), abs=1e-12)
    assert metrics["malignant_sensitivity"] == pytest.approx((score[sick] > .5).mean()) and metrics["malignant_specificity"] == pytest.approx((score[~sick] <= .5).mean())

def test_ranking_with_ties_and_weights(arrays):
    y, p, lesion = arrays
    tied, w = p.round(1), next(bootstrap_weights(lesion, 5, seed=3))
    for k in 2, 4, 5:
        auc, ap = ranking_scores(y == k, tied[:, k], w)
        assert auc == pytest.approx([skm.roc_auc_score(y == k, tied[:, k], sample_weight=v) for v in w.T], abs=1e-12)
        assert ap == pytest.approx([skm.average_precision_score(y == k, tied[:, k], sample_weight=v) for v in w.T], abs=1e-12)

def test_ranking_without_a_side(arrays):
    y, p, _ = arrays
    once = np.ones((len(y), 1))
    assert all(np.isnan(s).all() for side in (y > 9, y < 9) for s in ranking_scores(side, p[:, 0], once))

def test_calibration_error_by_hand():
    p = np.full((4, 7), .1 / 6); p[:, 5] = .9
    assert calibration_error(np.array([5, 5, 5, 0]), p) == pytest.approx(.9 - .75)
    p[2:] = .06 / 6; p[2:, 4] = .94  # another bin of 15, the same of 10
    y = np.array([5, 5, 0, 0])
    assert calibration_error(y, p) == pytest.approx((.1 + .94) / 2) and calibration_error(y, p, bins=10) == pytest.approx(.92 - .5)
    assert calibration_error(y, p, weights=np.array([[1, 1, 0, 0], [0, 0, 1, 1]]).T) == pytest.approx([.1, .94])

def test_brier_by_hand():
    p = np.eye(7)[[0, 1]]
    assert brier_score(np.array([0, 0]), p) == 1 and brier_score(np.array([0, 0]), p, np.array([[1.], [3.]])) == pytest.approx([1.5])

def test_extremes(predictions):
    constant = evaluate(predictions.assign(**{c: float(c == "p_nv") for c in P_COLUMNS}), n_boot=10)
    assert [constant["accuracy"], constant["balanced_accuracy"], constant["auc"]] == pytest.approx([constant["constant_accuracy"], 1 / 7, .5])
    perfect = evaluate(predictions.assign(**{c: (predictions.dx == c[2:]).astype(float) for c in P_COLUMNS}), n_boot=10)
    assert [perfect[k] for k in ("accuracy", "lo", "hi", "auc", "average_precision", "mel_sensitivity_at_95", "malignant_specificity_at_95")] == [1.] * 7
    assert perfect["brier"] == perfect["ece"] == 0

def test_missing_class(predictions, arrays):
    some = evaluate(predictions[predictions.dx != "df"], n_boot=20)
    y, p, _ = arrays
    y, guess = y[y != 3], p.argmax(1)[y != 3]
    assert some["balanced_accuracy"] == pytest.approx(np.mean([(guess[y == k] == k).mean() for k in np.unique(y)]))
    assert (some["auc"], some["average_precision"], some["per_class"]["df"]["recall"], some["intervals"]["auc"], some["intervals"]["df.recall"]) == (None,) * 5
    for t in predictions[predictions.dx == "mel"], predictions[predictions.dx == "nv"]: json.dumps(evaluate(t, n_boot=10), allow_nan=False)
    assert evaluate(predictions[predictions.dx != "mel"], n_boot=0)["mel_sensitivity_at_95"] is None

def test_metrics_are_plain(metrics):
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    table = score_table(metrics)
    assert table.index[0] == "balanced_accuracy" and table.value.notna().all() and set(table.index) <= set(metrics["intervals"])

def test_class_report(arrays, predictions):
    y, p, _ = arrays
    report, expected = class_report(predictions), skm.classification_report(y, p.argmax(1), target_names=CLASSES, output_dict=True)
    for ours, theirs in ("mel", "mel"), ("macro average", "macro avg"), ("weighted average", "weighted avg"):
        assert report.loc[ours, ["precision", "recall", "f1"]].tolist() == pytest.approx([expected[theirs][k] for k in ("precision", "recall", "f1-score")])
    assert report.called.tolist() == [*np.bincount(p.argmax(1), minlength=7), len(y), len(y)]

# thresholds

def test_thresholds_are_the_best_that_keep_what_is_asked():
    rng = np.random.default_rng(0)
    for n in 7, 40, 201:
        sick, score = np.arange(n) % 3 == 0, rng.integers(0, 30, n) / 30
        for share in .9, .95, 1.:
            t, low = specific_threshold(sick, score, share), sensitive_threshold(sick, score, share)
            assert (score[~sick] <= t).mean() >= share and all((score[~sick] <= s).mean() < share for s in np.unique(score) if s < t)
            assert (score[sick] > low).mean() >= share and all((score[sick] > s).mean() < share for s in np.unique(score) if s > low)
    assert np.isnan(specific_threshold(np.ones(3, bool), np.ones(3))) and np.isnan(sensitive_threshold(np.zeros(3, bool), np.ones(3)))

def test_thresholds_come_from_the_validation_part_of_the_same_fold(predictions):
    other = predictions.assign(fold=1, image_id=predictions.image_id + "b")
    other.loc[other.split == "valid", P_COLUMNS] = other.loc[other.split == "valid", P_COLUMNS].to_numpy()[::-1]
    both = pd.concat([predictions, other], ignore_index=True)
    alarm, alone = choose_alarm(both), choose_alarm(predictions)
    assert alarm.chosen_on == "valid" and alarm.thresholds[0] == alone.thresholds[0] != alarm.thresholds[1]
    n = (predictions.split == "test").sum()
    assert np.array_equal(alarm.on[:n], alone.on)
    changed = predictions.copy()
    changed.loc[changed.split == "test", P_COLUMNS] = 1 / 7
    assert choose_alarm(changed).thresholds == alone.thresholds  # the judged rows have no say
    assert evaluate(predictions[predictions.split == "test"], n_boot=0)["alarms"]["mel_sensitivity_at_95"]["chosen_on"] == "test"

# resampling

def slow(predictions, columns):
    "The same scores, one data frame per resample, by scikit-learn."
    t, rows = predictions.query("split == 'test'").reset_index(drop=True), []
    for w in columns.T:
        y, p, _ = split_arrays(part := t.loc[np.repeat(t.index, w.astype(int))].assign(image_id=lambda d: np.arange(len(d))))
        rows.append(dict(balanced_accuracy=skm.recall_score(y, p.argmax(1), labels=np.unique(y), average="macro"), brier=brier_score(y, p), ece=calibration_error(y, p),
                         auc=np.mean([skm.roc_auc_score(y == k, p[:, k]) for k in np.unique(y)]), average_precision=np.mean([skm.average_precision_score(y == k, p[:, k]) for k in np.unique(y)]),
                         **{"bkl.f1": skm.f1_score(y, p.argmax(1), labels=[2], average=None)[0], "nv.precision": skm.precision_score(y, p.argmax(1), labels=[5], average=None)[0]}))
    return pd.DataFrame(rows)

def test_bootstrap_equals_a_slow_loop(predictions, arrays):
    y, p, lesion = arrays
    expected = slow(predictions, next(bootstrap_weights(lesion, 12, seed=7)))
    drawn = bootstrap_scores(lambda w: weighted_scores(y, p, w), lesion, 12, seed=7)
    for name in expected: assert drawn[name] == pytest.approx(expected[name].to_numpy(), abs=1e-12), name

def test_lesions_are_drawn_whole():
    group = np.repeat(["a", "b", "c", "d"], [1, 2, 3, 4])
    w = np.concatenate(list(bootstrap_weights(group, 2000)), 1)
    assert (w[1] == w[2]).all() and (w[6:] == w[6]).all() and (w[[0, 1, 3, 6]].sum(0) == 4).all() and abs(w.mean() - 1) < .05

def test_blocks_change_nothing(predictions):
    small, many = np.arange(4), np.repeat(np.arange(4), 200_000)  # the second gives blocks of one column
    assert np.array_equal(next(bootstrap_weights(small, 5)), np.concatenate(list(bootstrap_weights(many, 5)), 1)[::200_000])

def test_seed(predictions, metrics):
    assert evaluate(predictions, n_boot=200) == metrics and evaluate(predictions, n_boot=200, seed=1)["intervals"] != metrics["intervals"]
    assert evaluate(predictions, n_boot=0)["intervals"] == {}

def test_intervals_hold_their_values(metrics):
    for name, ends in metrics["intervals"].items():
        value = metrics["per_class"][name.split(".")[0]][name.split(".")[1]] if "." in name else metrics[name]
        assert ends[0] <= value <= ends[1], name

# two models

def test_paired_difference(predictions, metrics):
    worse = predictions.copy()
    worse.loc[worse.index[:60], P_COLUMNS] = worse.loc[worse.index[:60], P_COLUMNS].to_numpy()[::-1]
    d = paired_difference(predictions, worse, "auc", n_boot=100)
    assert d["a"] == metrics["auc"] and d["difference"] == pytest.approx(metrics["auc"] - evaluate(worse, n_boot=0)["auc"]) and d["lo"] < d["difference"] < d["hi"]
    back = paired_difference(worse, predictions, "auc", n_boot=100)
    assert [back["lo"], back["hi"]] == pytest.approx([-d["hi"], -d["lo"]])
    assert [paired_difference(predictions, predictions, "mel.recall", n_boot=20)[k] for k in ("difference", "lo", "hi")] == [0.] * 3

def test_paired_difference_needs_the_same_lesions(predictions):
    refused(lambda: paired_difference(predictions, predictions[predictions.lesion_id != "test_00003"]), "such as test_00003")
    refused(lambda: paired_difference(predictions, predictions, "acuracy"), "acuracy", "one of balanced_accuracy")
    one_image = average_lesions(predictions)  # other rows of the same lesions are fine
    assert paired_difference(predictions, one_image, n_boot=10)["n_lesions"] == 300

# lesions, files

def test_average_lesions(predictions):
    by_lesion = check_predictions(average_lesions(predictions))
    assert list(by_lesion) == COLUMNS and len(by_lesion) == 500
    several = predictions.lesion_id.value_counts().idxmax()
    mean = predictions.loc[predictions.lesion_id == several, P_COLUMNS].mean()
    assert by_lesion.set_index("lesion_id").loc[several, P_COLUMNS].tolist() == pytest.approx(mean.tolist())
    refused(lambda: average_lesions(predictions.assign(lesion_id="one")), "different classes for lesion one")

def test_submission(predictions, tmp_path):
    t = pd.read_csv(write_submission(predictions[COLUMNS[:3] + P_COLUMNS[::-1] + COLUMNS[-2:]], tmp_path / "s.csv"))
    assert list(t) == ["image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    test = predictions[predictions.split == "test"]
    assert t.image.tolist() == test.image_id.tolist() and all((t[c] == test[f"p_{c.lower()}"]).all() for c in SUBMISSION_COLUMNS)
    refused(lambda: write_submission(predictions, tmp_path / "no.csv", "train"), "no rows")
    refused(lambda: write_submission(pd.concat([predictions, predictions.assign(fold=1)]), tmp_path / "no.csv"), "images more than once")
    assert not (tmp_path / "no.csv").exists()

def test_challenge_scorer_agrees(predictions, metrics, tmp_path, monkeypatch):
    scoring = pytest.importorskip("isic_challenge_scoring.classification", reason="isic-challenge-scoring isn't installed (extra: challenge)")
    if not hasattr(pd.DataFrame, "applymap"): monkeypatch.setattr(pd.DataFrame, "applymap", pd.DataFrame.map, raising=False)  # pandas 3 dropped the name that the scorer uses
    test = predictions[predictions.split == "test"]
    truth = pd.DataFrame({"image": test.image_id} | {c: (test.dx == c.lower()).astype(float) for c in SUBMISSION_COLUMNS})
    truth.to_csv(tmp_path / "truth.csv", index=False)
    score = scoring.ClassificationScore.from_file(tmp_path / "truth.csv", write_submission(predictions, tmp_path / "s.csv"), scoring.ClassificationMetric.BALANCED_ACCURACY)
    assert score.overall == pytest.approx(metrics["balanced_accuracy"], abs=1e-12)
    assert score.macro_average[["auc", "ap"]].tolist() == pytest.approx([metrics["auc"], metrics["average_precision"]], abs=1e-12)
    for c in CLASSES:
        assert score.per_category.loc[c.upper(), ["auc", "ap"]].tolist() == pytest.approx([metrics["per_class"][c][k] for k in ("auc", "average_precision")], abs=1e-12)

BROKEN = {
    "text": (dict(p_df="x"), "p_df = x"), "gap": (dict(p_mel=np.nan), "p_mel = nan"), "range": (dict(p_nv=2.), "from 0 to 1"), "sum": (dict(p_nv=0.), "sum to"),
    "class": (dict(dx="melanoma"), "dx = melanoma"), "fold": (dict(fold=.5), "a whole number"), "lesion": (dict(lesion_id=None), "lesion_id = nan")}

@pytest.mark.parametrize("how", BROKEN)
def test_broken_tables(predictions, how, tmp_path):
    cells, said = BROKEN[how]
    broken = predictions.astype({c: object for c in cells})
    for c, v in cells.items(): broken.loc[3, c] = v
    broken.to_csv(tmp_path / "broken.csv", index=False)
    refused(lambda: read_predictions(tmp_path / "broken.csv"), "broken.csv, row 5", said)
    if how != "lesion": refused(lambda: write_predictions(tmp_path / "no.csv", broken), said)
    assert not (tmp_path / "no.csv").exists()

def test_broken_files(predictions, tmp_path):
    (tmp_path / "empty.csv").write_text("")
    for name in "empty.csv", "none.csv": refused(lambda: read_predictions(tmp_path / name), name, "no readable table")
    refused(lambda: check_predictions(predictions.drop(columns="p_mel")), "no column p_mel")
    refused(lambda: check_predictions(pd.concat([predictions, predictions.iloc[:1]])), "each image once")
    refused(lambda: evaluate(predictions, "train"), "splits there: test, valid")
    refused(lambda: evaluate(predictions.iloc[:0]), "the table is empty")

def test_table_of_predictions(predictions, tmp_path):
    assert read_predictions(write_predictions(tmp_path / "p.csv", predictions)).equals(predictions)  # to the last bit
    known = predictions[["image_id", "lesion_id", "dx", "split", "fold"]]
    assert predictions_table(known, predictions[P_COLUMNS[::-1]].rename(columns=lambda c: c[2:])).equals(predictions)  # by name, not by position
    assert predictions_table(predictions, predictions[P_COLUMNS].iloc[:5], np.arange(5)).equals(predictions.iloc[:5])
    refused(lambda: predictions_table(predictions, np.ones((3, 7)) / 7), "shape (3, 7)")
    refused(lambda: predictions_table(predictions, predictions[P_COLUMNS[:-1]]), "p_vasc = nan")

@pytest.mark.parametrize("module", ["evaluation", "figures"])
def test_import_brings_nothing_heavy(module):
    code = f"import sys, skin_nb.{module}; print([m for m in ('keras', 'tensorflow', 'jax', 'sklearn', 'matplotlib', 'seaborn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"

# figures

def test_figures_of_odd_parts(predictions, tmp_path):
    from skin_nb.figures import reliability_bins, score_figures
    for n, part in enumerate((predictions[predictions.dx == "nv"], predictions[predictions.dx != "vasc"], predictions[predictions.split == "test"].iloc[:1])):
        files = score_figures(part, tmp_path / str(n), metrics=evaluate(part, n_boot=20))
        assert len(files) == 8 and all(f.stat().st_size > 5000 for f in files)
    bins = reliability_bins(predictions, n_boot=0)
    gap = (bins.confidence - bins.right).abs() @ bins.images / bins.images.sum()
    assert gap == pytest.approx(evaluate(predictions, n_boot=0)["ece"]) and bins.lo.isna().all()

# the command

@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "A run folder with an untrained model."
    from skin_nb.recipe import Recipe, Stage
    from skin_nb.training import build_model, save_model
    recipe = Recipe("tiny", "CustomCNN", 32, (Stage(1, 1e-3, unfreeze="all"),), scratch=True, pool="flatten", dense=(8,))
    folder = tmp_path_factory.mktemp("run")
    save_model(SimpleNamespace(model=build_model(recipe)[0], recipe=recipe, encoder=None), folder / "model.keras")
    return folder

def pictures(folder, n=14):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(n): Image.fromarray(rng.integers(0, 255, (60 + i, 90 - i, 3), "uint8")).save(folder / f"ISIC_{i:07}.jpg")
    return [f"ISIC_{i:07}" for i in range(n)], [CLASSES[i // 2] for i in range(n)]

def ham10000(folder):
    ids, dx = pictures(folder / "HAM10000_images_part_1")
    t = pd.DataFrame(dict(lesion_id=[f"HAM_{i // 2:07}" for i in range(14)], image_id=ids, dx=dx, dx_type="histo", age=50, sex="male", localization="back"))
    t.to_csv(folder / "HAM10000_metadata.csv", index=False)

def isic2018(folder):
    ids, dx = pictures(folder / "ISIC2018_Task3_Validation_Input")
    (folder / "ISIC2018_Task3_Validation_GroundTruth").mkdir()
    t = pd.DataFrame({"image": ids} | {c: [float(d == c.lower()) for d in dx] for c in SUBMISSION_COLUMNS})
    t.to_csv(folder / "ISIC2018_Task3_Validation_GroundTruth/ISIC2018_Task3_Validation_GroundTruth.csv", index=False)

def own_folder(folder):
    ids, dx = pictures(folder / "all")
    for i, d in zip(ids, dx):
        (folder / d).mkdir(exist_ok=True)
        (folder / "all" / f"{i}.jpg").rename(folder / d / f"{i}.jpg")
    (folder / "all").rmdir()

@pytest.mark.parametrize("layout, lesions", [(ham10000, 7), (isic2018, 14), (own_folder, 14)], ids=lambda x: getattr(x, "__name__", ""))
def test_evaluate_every_layout(run, layout, lesions, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SKIN_NB_CACHE", str(tmp_path / "cache"))
    layout(tmp_path / "data")
    out = tmp_path / "out"
    assert evaluate_command(["--model", str(run / "model.keras"), "--data", str(tmp_path / "data"), "--out", str(out)]) == 0
    said, m = capsys.readouterr().out, json.loads((out / "metrics.json").read_text())["metrics"]
    assert f"14 images of {lesions} lesions" in said and "balanced_accuracy" in said and "this very folder" in said and "lo" in said
    assert m["n"] == 14 and [m["per_class"][c]["support"] for c in CLASSES] == [2] * 7 and m["intervals"]["auc"]
    p = read_predictions(out / "predictions.csv")
    assert sorted(p.dx) == sorted(list(CLASSES) * 2) and list(pd.read_csv(out / "submission.csv")) == ["image", *SUBMISSION_COLUMNS]
    assert {f.stem for f in (out / "figures").glob("*.png")} == {"confusion", "confusion_counts", "roc", "precision_recall", "recall", "reliability", "decision", "probabilities",
                                                                "right", "wrong", "confidently_wrong"}

def test_evaluate_takes_thresholds_from_the_run(run, predictions, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SKIN_NB_CACHE", str(tmp_path / "cache"))
    own_folder(tmp_path / "data")
    write_predictions(run / "predictions.csv", pd.concat([predictions.assign(fold=2), invent_predictions(50, seed=9, split="valid").assign(fold=3)]))
    assert evaluate_command(["--model", str(run / "model.keras"), "--data", str(tmp_path / "data")]) == 0
    alarm = json.loads((run / "evaluation/metrics.json").read_text())["metrics"]["alarms"]["mel_sensitivity_at_95"]
    assert alarm["chosen_on"] == "valid" and alarm["thresholds"]["0"] == choose_alarm(predictions).thresholds[0]
    assert "validation part" in capsys.readouterr().out

def test_evaluate_refuses(run, tmp_path, capsys):
    (tmp_path / "broken.keras").write_bytes(b"no model")
    own_folder(tmp_path / "data")
    cases = {"none.keras": ["--model", "none.keras", "--data", "sample"], "nowhere": ["--model", str(run / "model.keras"), "--data", "nowhere"],
             "broken.keras": ["--model", str(tmp_path / "broken.keras"), "--data", str(tmp_path / "data")]}
    for said, arguments in cases.items():
        assert evaluate_command(arguments) == 2
        assert said in capsys.readouterr().err
