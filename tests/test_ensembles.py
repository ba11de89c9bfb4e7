"Ensembles: what is learned on which rows, and the one file that holds them."
import json
import shutil
import zipfile
import numpy as np
import pandas as pd
import pytest
from skin_nb.core import DataError
from skin_nb.ensembles import (
    BLENDS, Combination, best_member, combine, combine_answers, combine_folds, diversity_table,
    fit_combination, fit_with_certainty, side_by_side)
from skin_nb.predictions import invent_predictions
from skin_nb.tasks import HAM10000, MELANOMA, with_task


def invented(seed, task=HAM10000, skill=2.6):
    "A member with errors of its own, about the same lesions as all the others."
    parts = []
    for number, split in enumerate(("valid", "test")):
        part = invent_predictions(200, skill, seed=number, split=split, task=task)
        own = np.random.default_rng((seed, number)).normal(size=(len(part), len(task.classes)))
        scores = part[task.p_columns] * np.exp(own)
        parts.append(part.assign(**scores.div(scores.sum(axis=1), axis=0)))
    return with_task(pd.concat(parts, ignore_index=True), task)


@pytest.fixture(scope="module", params=[HAM10000, MELANOMA], ids=["seven", "two"])
def tables(request):
    return {f"member {k}": invented(k, request.param) for k in range(3)}


def probabilities(table):
    return table[[c for c in table if c.startswith("p_")]].to_numpy()


@pytest.mark.parametrize("method", BLENDS)
def test_every_method_answers_with_probabilities(tables, method):
    p = probabilities(combine(fit_combination(tables, method), tables))
    assert np.isfinite(p).all() and (p >= 0).all()
    assert np.abs(p.sum(1) - 1).max() < 1e-6


@pytest.mark.parametrize("method", BLENDS)
def test_the_test_part_decides_nothing(tables, method):
    "Labels and answers of the test part are drawn by lot: weights, stacks, temperatures stay."
    poisoned = {}
    for k, (name, table) in enumerate(tables.items()):
        classes = [c[2:] for c in table if c.startswith("p_")]
        tested = (table.split == "test").to_numpy()
        p = probabilities(table).copy()
        p[tested] = np.random.default_rng(k).dirichlet(np.ones(len(classes)), tested.sum())
        dx = table.dx.where(~tested, np.random.default_rng(9).choice(classes, len(table)))
        poisoned[name] = table.assign(**{f"p_{c}": p[:, j] for j, c in enumerate(classes)}, dx=dx)
    assert fit_combination(poisoned, method) == fit_combination(tables, method)
    assert best_member(poisoned) == best_member(tables)


@pytest.mark.parametrize("method", BLENDS)
def test_sets_hold_the_truth_as_often_as_promised(tables, method):
    "On rows that nothing was learned from; a stack that knew its rows by heart would fail."
    combination, certainty = fit_with_certainty(tables, method)
    assert combination == fit_combination(tables, method)
    tested = side_by_side(tables, "test")
    sets = certainty.sets(combine_answers(combination, tested.members))
    share = sets[np.arange(len(tested.y)), tested.y].mean()
    assert abs(share - .9) < 4 * np.sqrt(.9 * .1 / len(tested.y))


@pytest.mark.parametrize("method", BLENDS)
def test_rows_are_matched_by_name(tables, method):
    name, table = list(tables.items())[1]
    shuffled = {**tables, name: table.sample(frac=1, random_state=0)}
    assert fit_combination(shuffled, method) == fit_combination(tables, method)
    fitted = fit_combination(tables, method)
    assert combine(fitted, shuffled).equals(combine(fitted, tables))


@pytest.mark.parametrize("change, words", [
    (lambda t: t.iloc[1:], "rows in table 2"),
    (lambda t: t.assign(image_id=t.image_id + "x"), "of the first not among them"),
    (lambda t: t.assign(split="test"), "of the first not among them"),
    (lambda t: t.assign(dx=t.dx.iloc[::-1].to_numpy()), "other classes in table 2"),
    (lambda t: t.assign(image_id=t.image_id.iloc[0]), "each image once")])
def test_other_pictures_are_an_error(tables, change, words):
    first, second = list(tables)[:2]
    with pytest.raises(DataError, match=words):
        fit_combination({first: tables[first], second: change(tables[second])})


def test_other_classes_are_an_error(tables):
    other = invented(0, MELANOMA if "p_nv" in next(iter(tables.values())) else HAM10000)
    with pytest.raises(DataError, match="the classes"):
        fit_combination({**tables, "other": other})
    with pytest.raises(DataError, match="no table"):
        fit_combination({})


@pytest.mark.parametrize("method", ["mean", "logit mean", "greedy"])
def test_identical_members_are_one_member(tables, method):
    table = next(iter(tables.values()))
    same = dict(a=table, b=table, c=table)
    joint = combine(fit_combination(same, method, calibrate=False), same)
    assert np.abs(probabilities(joint) - probabilities(table)).max() < 1e-4


def test_greedy_is_no_worse_than_the_best_member_where_it_chose(tables):
    valid = side_by_side(tables)
    fitted = fit_combination(tables, "greedy", calibrate=False)
    joint = valid.score(combine_answers(fitted, valid.members))
    assert joint >= max(valid.score(p) for p in valid.members)
    assert abs(sum(fitted.weights) - 1) < 1e-9


def test_every_row_is_answered_for_itself(tables):
    "A picture's answer doesn't depend on what else is asked, ranks included."
    for method in BLENDS:
        fitted = fit_combination(tables, method)
        one = {name: t.iloc[[3]] for name, t in tables.items()}
        whole = probabilities(combine(fitted, tables))[3]
        assert np.allclose(probabilities(combine(fitted, one))[0], whole, atol=1e-6)


def test_every_fold_learns_from_its_own_validation_part(tables):
    def second_fold(table, seed):
        return table.assign(fold=1, image_id="2 " + table.image_id)

    worse = invented(7, HAM10000 if "p_nv" in next(iter(tables.values())) else MELANOMA, skill=.5)
    both = {name: pd.concat([t, second_fold(worse if k == 0 else t, k)])
            for k, (name, t) in enumerate(tables.items())}
    joint, fitted = combine_folds(both, "greedy")
    assert fitted[0] == fit_combination(tables, "greedy")
    assert fitted[1] != fitted[0] and len(joint) == 2 * len(worse)


def test_a_copy_is_no_diversity(tables):
    table = next(iter(tables.values()))
    pair = diversity_table(dict(a=table, b=table)).iloc[0]
    assert pair.disagreement == 0 and pair.gain == 0 and pair.correlation == pytest.approx(1)


# one file

@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    "Two runs of one epoch on the sample: 32 pixels; and 40, with metadata."
    from skin_nb.pictures import decode_images
    from skin_nb.predictions import predictions_table, write_predictions
    from skin_nb.preparation import split_by_lesion
    from skin_nb.readers import read_any
    from skin_nb.recipe import Head, Recipe, Stage
    from skin_nb.sample import sample_folder
    from skin_nb.training import fit_recipe, save_model
    home = tmp_path_factory.mktemp("runs")
    table = split_by_lesion(read_any(sample_folder()))

    def train(name, size, head):
        recipe = Recipe(name, "CustomCNN", size, (Stage(1, 1e-3, unfreeze="all"),), scratch=True,
                        head=head)
        images = decode_images(table, size, folder=home)
        fit = fit_recipe(recipe, table, images, home / name / "fit", folder=home, verbose=0)
        write_predictions(home / name / "predictions.csv",
                          predictions_table(table, fit.probabilities, fit.rows))
        save_model(fit, home / name / "model.keras")
        return home / name
    small = train("small", 32, Head(pool="flatten", dense=(8,)))
    return dict(small=small, joined=train("joined", 40, Head(dense=(8,), metadata=8)))


@pytest.fixture(scope="module")
def ensemble(runs, tmp_path_factory):
    from skin_nb.ensemble_files import ensemble_of_runs
    return ensemble_of_runs(runs, tmp_path_factory.mktemp("joint"), "mean", note="two")


def test_the_file_answers_as_its_runs_did_wherever_it_is(runs, ensemble, tmp_path):
    from skin_nb.ensemble_files import load_any, predict_any, seen_by_any
    from skin_nb.predictions import read_predictions
    from skin_nb.preparation import split_by_lesion
    from skin_nb.readers import read_any
    from skin_nb.sample import sample_folder
    moved = shutil.copy(ensemble, tmp_path / "any name.zip")
    table = split_by_lesion(read_any(sample_folder()))
    loaded = load_any(moved)
    p = pd.DataFrame(predict_any(loaded, table), table.image_id)
    kept = read_predictions(ensemble.with_name("predictions.csv")).set_index("image_id")
    assert np.abs(p.loc[kept.index].to_numpy() - probabilities(kept)).max() < 1e-4
    assert loaded.task.classes == HAM10000.classes and loaded.info["note"] == "two"
    seen = seen_by_any(loaded, table)
    assert set(seen.how[table.split == "train"]) == {"pixels"}
    assert "pixels" not in set(seen.how[table.split == "test"])


def rewritten(ensemble, path, change):
    "A copy of an ensemble whose files went through a function."
    with zipfile.ZipFile(ensemble) as old, zipfile.ZipFile(path, "w") as new:
        for name, content in change({n: old.read(n) for n in old.namelist()}).items():
            new.writestr(name, content)
    return path


def without_second(files):
    return {name: c for name, c in files.items() if name != "members/1.keras"}


def swapped(files):
    return {**files, "members/0.keras": files["members/1.keras"],
            "members/1.keras": files["members/0.keras"]}


def flipped(files):
    content = bytearray(files["members/0.keras"])
    content[len(content) // 2] ^= 1
    return {**files, "members/0.keras": bytes(content)}


def heavier(files):
    record = json.loads(files["ensemble.json"])
    record["combination"]["weights"] = [.9, .1]
    return {**files, "ensemble.json": json.dumps(record)}


def no_record(files):
    return {**files, "ensemble.json": b"[]"}


@pytest.mark.parametrize("change, words", [
    (without_second, "no members/1.keras"), (swapped, "another checksum"),
    (flipped, "another checksum"), (heavier, "changed after it was saved"),
    (no_record, "damaged file")])
def test_a_damaged_ensemble_is_refused(ensemble, tmp_path, change, words):
    from skin_nb.ensemble_files import load_any
    with pytest.raises(DataError, match=words):
        load_any(rewritten(ensemble, tmp_path / "damaged.ensemble", change))


def test_a_torn_ensemble_is_not_taken_for_its_last_member(ensemble, tmp_path):
    from skin_nb.ensemble_files import load_any
    whole = ensemble.read_bytes()
    for cut in (whole.rindex(b"ensemble.json", 0, -200), len(whole) - 30, len(whole) // 2, 10):
        torn = tmp_path / "torn.ensemble"
        torn.write_bytes(whole[:cut])
        with pytest.raises(DataError):
            load_any(torn)


def test_a_run_on_data_that_have_changed_is_named(runs, tmp_path):
    from skin_nb.ensemble_files import ensemble_of_runs
    changed = tmp_path / "changed"
    changed.mkdir()
    table = pd.read_csv(runs["small"] / "predictions.csv")
    table.loc[3, "dx"] = "nv" if table.dx[3] != "nv" else "mel"
    table.to_csv(changed / "predictions.csv", index=False)
    with pytest.raises(
        DataError,
        match="changed.predictions.csv: found other classes in it.*as in small.*run both again",
    ):
        ensemble_of_runs(dict(small=runs["small"], changed=changed), tmp_path / "joint")
    assert not (tmp_path / "joint").exists()


def test_an_error_of_a_member_names_the_ensemble(ensemble, monkeypatch):
    from skin_nb import ensemble_files
    from skin_nb.model_files import unusable_model
    def refuse(file, name):
        raise unusable_model(file, "a model of tomorrow")
    monkeypatch.setattr(ensemble_files, "_load_member", refuse)
    with pytest.raises(DataError) as caught:
        ensemble_files.load_any(ensemble)
    assert caught.value.problems[0].file == f"{ensemble} (small)"


def test_only_models_of_the_same_classes_are_joined(runs, tmp_path):
    from skin_nb.ensemble_files import save_ensemble
    models = {name: folder / "model.keras" for name, folder in runs.items()}
    combination = Combination("mean", (.5, .5))
    with pytest.raises(DataError, match="1 models"):
        save_ensemble(tmp_path / "x", dict(small=models["small"]), combination)
    with pytest.raises(DataError, match="no such file"):
        save_ensemble(tmp_path / "x", {**models, "joined": tmp_path / "none"}, combination)
    assert not (tmp_path / "x").exists()


def test_a_member_without_a_say_is_left_out(runs, tmp_path):
    from skin_nb.ensemble_files import read_any_info, save_ensemble
    models = {name: folder / "model.keras" for name, folder in runs.items()}
    path = save_ensemble(tmp_path / "one", models, Combination("greedy", (0., 1.)))
    assert [m["name"] for m in read_any_info(path)["members"]] == ["joined"]


def test_every_member_is_told_what_it_reads(ensemble):
    from skin_nb.classifier import Classifier, describe_answers
    from skin_nb.ensemble_files import predict_any
    from skin_nb.readers import read_any
    from skin_nb.sample import sample_folder
    table = read_any(sample_folder()).iloc[:8].reset_index(drop=True)
    people = table[["image_id", "age", "sex", "localization"]]
    asked = Classifier.load(ensemble)
    answers = asked.predict(list(table.path), people)
    wanted = predict_any(asked.file, table)
    assert np.abs(answers[asked.task.p_columns].to_numpy() - wanted).max() < 1e-5
    alone = asked.predict(list(table.path))
    assert np.abs(alone[asked.task.p_columns].to_numpy() - wanted).max() > 1e-5
    assert "nothing is known of age" in " ".join(describe_answers(asked, alone))


def test_an_ensemble_without_certainty_says_so(runs, tmp_path):
    from skin_nb.classifier import Classifier, describe_answers
    from skin_nb.ensemble_files import save_ensemble
    models = {name: folder / "model.keras" for name, folder in runs.items()}
    plain = Classifier.load(
        save_ensemble(tmp_path / "plain", models, Combination("mean", (.5, .5)))
    )
    answers = plain.predict(np.zeros((40, 40, 3), "uint8"))
    assert "set" not in answers
    assert "it holds no sets" in " ".join(describe_answers(plain, answers))


def test_evaluate_takes_an_ensemble_like_a_model(ensemble, tmp_path, capsys):
    from skin_nb.evaluate_command import evaluate_command
    out = tmp_path / "out"
    code = evaluate_command(["--model", str(ensemble), "--data", "sample", "--out", str(out)])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "WARNING: this model has seen" in said.out and "balanced_accuracy" in said.out
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["metrics_not_seen"]["n"] < metrics["metrics"]["n"]
    flawed = rewritten(ensemble, tmp_path / "flawed.ensemble", heavier)
    arguments = ["--model", str(flawed), "--data", "sample", "--out", str(tmp_path / "no")]
    assert evaluate_command(arguments) == 2
    assert "changed after it was saved" in capsys.readouterr().err


def test_evaluate_asks_an_ensemble_about_pictures_without_labels(ensemble, tmp_path, capsys):
    from PIL import Image
    from skin_nb.evaluate_command import evaluate_command
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (50, 40), (190, 140, 120)).save(tmp_path / "photos" / "mole.png")
    asked = ["--data", str(tmp_path / "photos"), "--unlabelled", "--out", str(tmp_path / "out")]
    assert evaluate_command(["--model", str(ensemble), *asked]) == 0
    assert "joint answer of 2 models (mean)" in capsys.readouterr().out
    answers = pd.read_csv(tmp_path / "out" / "answers.csv")
    assert abs(answers.filter(like="p_").sum(axis=1)[0] - 1) < 1e-4
