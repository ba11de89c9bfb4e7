"A saved model asked about pictures: the same answers as in evaluation, and what goes with them."
import json
import zipfile
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skin_nb.certainty import fit_certainty, scale_probabilities
from skin_nb.core import DataError, Profile
from skin_nb.predict import predict_command
from tiny import tiny_trial


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def trial(home):
    return tiny_trial(home / "run", 8)


@pytest.fixture(scope="module")
def model(trial):
    return trial.folder / "model.keras"


@pytest.fixture(scope="module")
def classifier(model):
    from skin_nb.classifier import Classifier
    return Classifier.load(model)


@pytest.fixture(scope="module")
def test_part(trial):
    "The test pictures, with their labels."
    return trial.table[trial.table["split"] == "test"].reset_index(drop=True)


@pytest.fixture(scope="module")
def answers(classifier, test_part):
    return classifier.predict(list(test_part.path))


def held(answers, dx):
    return np.array([c in names.split(", ") for c, names in zip(dx, answers["set"])])


def test_the_answers_are_those_of_evaluation(classifier, model, answers, test_part, home):
    from skin_nb.pictures import decode_images
    from skin_nb.training import predict_table
    images = decode_images(test_part, 64, folder=home / "cache")
    p = predict_table(model, classifier.file.members[0].loaded, test_part, images)
    calibrated = scale_probabilities(p, classifier.certainty.temperature)
    found = answers[classifier.task.p_columns].to_numpy()
    assert np.abs(found - calibrated).max() < 1e-5
    assert list(answers.answer) == [classifier.task.classes[k] for k in p.argmax(1)]


def test_sets_hold_the_truth_about_as_often_as_promised(answers, test_part):
    share = held(answers, test_part.dx).mean()
    few = 3 * np.sqrt(.9 * .1 / len(answers))
    assert share > .9 - few - .05  # the validation part has also chosen the epoch
    assert 1 <= (answers["set"].str.count(",") + 1).mean() < 5


def test_calibration_is_of_the_validation_part_alone(trial, classifier):
    from skin_nb.evaluation import split_arrays
    y, p, _ = split_arrays(trial.predictions, "valid")
    learnt = fit_certainty(y, p)
    assert learnt.temperature == pytest.approx(classifier.certainty.temperature)
    assert np.allclose(learnt.thresholds, classifier.certainty.thresholds)

    def loss(p):
        return -np.log(p[np.arange(len(y)), y]).mean()
    assert loss(learnt.calibrate(p)) <= loss(p) + 1e-9
    assert learnt.pictures == len(y) == classifier.certainty.pictures


def test_noise_is_strange_and_test_pictures_are_not(classifier, answers):
    from skin_nb.shift import noise_pictures
    assert classifier.predict(noise_pictures(10, 96)).strange.all()
    assert answers.strange.mean() < .2


def test_training_pictures_are_known(trial, classifier):
    train = trial.table[trial.table["split"] == "train"].path.iloc[:2]
    assert list(classifier.predict(list(train)).seen) == ["pixels"] * 2


def test_paths_arrays_and_pictures_are_one(classifier, test_part, tmp_path):
    picture = Image.open(test_part.path[0])
    picture.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 8
    picture.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "turned.png", exif=exif)
    paths = classifier.predict([tmp_path / "upright.png", tmp_path / "turned.png"])
    others = classifier.predict([np.asarray(picture), picture, Image.open(tmp_path / "turned.png")])
    columns = classifier.task.p_columns
    every = pd.concat([paths[columns], others[columns]]).to_numpy()
    assert np.abs(every - every[0]).max() < 1e-5
    assert list(others.image_id) == ["0", "1", "2"]


def test_values_of_0_to_1_are_refused_by_row(classifier):
    both = classifier.predict([np.zeros((40, 40, 3)), np.zeros((40, 40, 3), "uint8")])
    assert "float64" in both.problem[0] and both.problem[1] == ""
    assert np.isnan(both[classifier.task.p_columns].iloc[0]).all()


@pytest.fixture
def photos(test_part, tmp_path):
    "A folder as people have them: nested, of mixed sizes and formats, one picture broken."
    folder = tmp_path / "photos"
    for n, place in enumerate(("a/mole.jpg", "b/mole.jpg", "b/deep/er.png", "wide.webp")):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        Image.open(test_part.path[n]).resize((90 + 70 * n, 140)).save(folder / place)
    (folder / "broken.jpg").write_bytes(Path(test_part.path[0]).read_bytes()[:900])
    (folder / "phone.heic").write_bytes(b"....ftypheic")
    (folder / "notes.txt").write_text("x")
    return folder


def test_a_folder_of_all_kinds(model, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SKIN_NB_CACHE", str(tmp_path / "cache"))
    out, maps = tmp_path / "new" / "answers.csv", tmp_path / "maps"
    asked = ["--model", str(model), str(photos), "--out", str(out), "--gradcam", str(maps)]
    assert predict_command(asked) == 1
    said = capsys.readouterr()
    assert "4 pictures: " in said.out and "calibrated" in said.out and "notes.txt" in said.out
    assert "pictures without an answer: 2" in said.err
    assert "broken.jpg" in said.err and "phone.heic" in said.err
    found = pd.read_csv(out).fillna("")
    assert list(found.image_id) == ["a/mole", "b/deep/er", "b/mole", "broken", "wide"]
    assert list(found.problem != "") == [False, False, False, True, False]
    drawn = sorted(str(p.relative_to(maps)) for p in maps.rglob("*") if p.is_file())
    assert drawn == ["a/mole.png", "b/deep/er.png", "b/mole.png", "wide.png"]
    assert Image.open(maps / "wide.png").size == (2 * 300, 140)
    assert not (tmp_path / "cache").exists()
    assert predict_command(asked[:5]) == 2  # the file is there
    assert "is there already" in capsys.readouterr().err


def test_single_pictures_are_printed(model, photos, capsys):
    assert predict_command(["--model", str(model), str(photos / "a/mole.jpg")]) == 0
    said = capsys.readouterr().out
    assert "probability" in said and "mole" in said and "no answer here is a diagnosis" in said


def test_places_are_refused_before_anything_is_read(model, photos, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.png").write_text("x")
    for more, text in ((["--gradcam", str(tmp_path / "full")], "new folder"),
                       (["--gradcam", str(photos / "maps")], "among the pictures"),
                       (["--out", str(tmp_path / "full/mine.png/x.csv")], "no folder"),
                       (["--metadata", "none.csv"], "none.csv")):
        assert predict_command(["--model", str(model), str(photos), *more]) == 2
        assert text in capsys.readouterr().err
    assert predict_command(["--model", "none.keras", str(photos)]) == 2
    assert "none.keras" in capsys.readouterr().err
    assert not (photos / "maps").exists()


def test_a_folder_without_pictures(model, tmp_path, capsys):
    assert predict_command(["--model", str(model), str(tmp_path)]) == 2
    assert "no picture" in capsys.readouterr().err


def test_many_answers_need_a_file(model, test_part, capsys):
    assert predict_command(["--model", str(model), *test_part.path[:51]]) == 2
    assert "--out" in capsys.readouterr().err


def test_two_blocks_are_in_memory_at_most(monkeypatch):
    "However many pictures there are."
    import skin_nb.classifier as module
    read = []
    monkeypatch.setattr(module, "picture_square", lambda picture, side: read.append(picture))
    answered = 0
    for rows, _ in module.read_blocks(list(range(10 * module.PICTURES_AT_ONCE)), (8,)):
        answered += len(rows)
        assert len(read) <= answered + module.PICTURES_AT_ONCE
    assert answered == len(read) == 10 * module.PICTURES_AT_ONCE


def rewritten(model, path, change):
    "A copy of a model's file with other contents."
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(path, "w") as new:
        contents = {name: old.read(name) for name in old.namelist()}
        for name, content in change(contents).items():
            new.writestr(name, content)
    return path


def without_certainty(contents, seals=("seal", "graph")):
    info = json.loads(contents["skin_nb.json"])
    for key in ("certainty", *seals):
        del info[key]
    return contents | {"skin_nb.json": json.dumps(info)}


def test_an_older_model_says_that_it_is_not_calibrated(
    classifier, model, answers, test_part, tmp_path
):
    from skin_nb.classifier import Classifier, describe_answers
    old = Classifier.load(rewritten(model, tmp_path / "old.keras", without_certainty))
    plain = old.predict(list(test_part.path[:4]))
    assert not {"set", "strange"} & set(plain.columns)
    assert "no calibration" in " ".join(describe_answers(old, plain))
    assert list(plain.answer) == list(answers.answer[:4])


def test_a_calibration_of_another_model_is_refused(model, tmp_path):
    from skin_nb.classifier import Classifier

    def hotter(contents):
        stored = json.loads(contents["skin_nb_certainty.json"]) | dict(temperature=9.)
        return contents | {"skin_nb_certainty.json": json.dumps(stored)}
    with pytest.raises(DataError, match="of another model"):
        Classifier.load(rewritten(model, tmp_path / "hot.keras", hotter))
    with pytest.raises(DataError, match="changed after"):
        Classifier.load(rewritten(model, tmp_path / "bare.keras",
                                  lambda contents: without_certainty(contents, ("graph",))))


def test_metadata_are_matched_and_missing_ones_named(trial, test_part, home, tmp_path):
    from skin_nb.classifier import Classifier, describe_answers
    from skin_nb.recipe import Head, Recipe, Stage
    from skin_nb.training import fit_recipe, predict_table, save_model
    recipe = Recipe("joined", "CustomCNN", 32, (Stage(1, 1e-2, unfreeze="all"),), scratch=True,
                    head=Head(metadata=8))
    images = trial.images[:, ::2, ::2]
    fit = fit_recipe(recipe, trial.table, images, home / "fit", folder=home, verbose=0)
    joined = Classifier.load(save_model(fit, home / "joined.keras"))
    rows = test_part.iloc[:6]
    renamed = rows.rename(columns=dict(image_id="isic_id", age="age_approx"))
    renamed.iloc[:4].drop(columns=["path", "dx"]).to_csv(tmp_path / "people.csv", index=False)
    answers = joined.predict(list(rows.path), tmp_path / "people.csv")
    squares = np.stack([np.asarray(Image.open(p).resize((32, 32), Image.Resampling.BILINEAR))
                        for p in rows.path])
    known = rows.copy()
    known.loc[4:, ["age", "sex", "localization"]] = [np.nan, "unknown", "unknown"]
    wanted = predict_table("m", joined.file.members[0].loaded, known, squares)
    assert np.abs(answers[joined.task.p_columns].to_numpy() - wanted).max() < .02
    said = " ".join(describe_answers(joined, answers))
    assert f"2 of 6 pictures, such as {rows.image_id.iloc[4]}" in said
    by_row = joined.predict(list(rows.path), known[["age", "sex", "localization"]])
    columns = joined.task.p_columns
    assert np.allclose(by_row[columns], answers[columns], atol=1e-5)


def test_metadata_of_patients_whose_pictures_have_one_name(tmp_path):
    from skin_nb.classifier import match_metadata, read_metadata
    cells = [f"images/p{i}/lesion.jpg" for i in range(3)]
    pd.DataFrame(dict(file=cells, age=[30, 40, 50])).to_csv(tmp_path / "people.csv", index=False)
    found = match_metadata(
        ["/elsewhere/p2/lesion.jpg", "/elsewhere/p0/lesion.jpg", "/elsewhere/p7/lesion.jpg"],
        read_metadata(tmp_path / "people.csv"),
    )
    assert found.age.tolist()[:2] == [50, 30] and np.isnan(found.age[2])


def write_people(path, **columns):
    pd.DataFrame(dict(image_id=["a", "b"]) | columns).to_csv(path, index=False)
    return path


def test_metadata_that_would_be_lost_is_said(tmp_path):
    from skin_nb.classifier import match_metadata, read_metadata
    file = write_people(tmp_path / "people.csv", sex=["F", "weiblich"], Alter=[30, 40])
    with pytest.warns(UserWarning, match="no column for age and localization.*Alter"):
        people = read_metadata(file)
    assert list(people.sex) == ["female"] * 2
    with pytest.raises(DataError, match="age, sex or localization, one at least"):
        read_metadata(write_people(tmp_path / "people.csv", Alter=[30, 40]))
    with pytest.raises(DataError, match="2 rows, such as a, for none of 1 pictures"):
        match_metadata(["c"], people)


def test_no_advice_that_leads_nowhere(classifier, tmp_path):
    "No file columns.json is read here, and there is no table with a row for a picture."
    from skin_nb.classifier import read_metadata
    file = write_people(tmp_path / "people.csv", age=["x", 3], sex=["1", "0"], localization="back")
    with pytest.raises(DataError, match="Correct the cells") as raised:
        read_metadata(file)
    assert "columns.json" not in str(raised.value)
    good = Image.new("RGB", (40, 40))
    (tmp_path / "a.jpg").write_text("<html>")
    good.save(tmp_path / "b.jpg")
    with pytest.warns(UserWarning, match="or leave it out"):
        classifier.predict(tmp_path)


def test_tables_of_pandas_go_by_their_names_too():
    "Not by position, whatever their column of pictures is called."
    from skin_nb.classifier import match_metadata
    table = pd.DataFrame(dict(isic_id=["b", "a"], age_approx=[40., 30.], gender=["male", "female"]))
    found = match_metadata(["a", "b"], table)
    assert list(found.age) == [30, 40] and list(found.sex) == ["female", "male"]


def test_answers_go_into_a_file_that_says_csv(model, photos, tmp_path, capsys):
    for name in ("answers.xlsx", "answers.JSON"):
        assert (
            predict_command(["--model", str(model), str(photos), "--out", str(tmp_path / name)])
            == 2
        )
        assert "ends in .csv" in capsys.readouterr().err


# several models in one file

@pytest.fixture(scope="module")
def other(home):
    "A second run, at another size."
    from skin_nb.experiment import load_data, run_trial
    from skin_nb.recipe import Stage, honest_recipe
    recipe = honest_recipe("other", "SampleNet", 48, stages=(Stage(4, 3e-3, unfreeze=0),))
    return run_trial(recipe, "lesion", load_data(), home / "run", Profile("short"))


@pytest.fixture(scope="module")
def both(trial, other, home):
    "The two runs as one file."
    from skin_nb.ensemble_files import ensemble_of_runs
    return ensemble_of_runs(dict(tiny=trial.folder, other=other.folder), home / "both")


@pytest.fixture(scope="module")
def joint(both):
    from skin_nb.classifier import Classifier
    return Classifier.load(both)


def test_an_ensemble_answers_as_in_evaluation(joint, test_part):
    from skin_nb.ensemble_files import predict_any
    assert sorted(network.side for network in joint.networks) == [48, 64]
    answers = joint.predict(list(test_part.path))
    found = answers[joint.task.p_columns].to_numpy()
    assert np.abs(found - predict_any(joint.file, test_part)).max() < 1e-5
    assert joint.file.combination.temperature == joint.certainty.temperature
    share = held(answers, test_part.dx).mean()
    assert share > .9 - 3 * np.sqrt(.9 * .1 / len(answers)) - .05


def test_an_ensemble_calls_strange_what_is_so_to_any_member(joint, classifier, other, test_part):
    from skin_nb.classifier import Classifier
    from skin_nb.shift import photographs
    pictures = [*photographs(20, 96), *map(Image.open, test_part.path[:10])]
    second = Classifier.load(other.folder / "model.keras").predict(pictures).strange
    either = classifier.predict(pictures).strange | second
    assert list(joint.predict(pictures).strange) == list(either)
    assert either.any() and not either.all()


def test_identical_members_are_the_member(trial, answers, test_part, tmp_path):
    from skin_nb.classifier import Classifier
    from skin_nb.ensemble_files import ensemble_of_runs
    runs = dict(a=trial.folder, b=trial.folder)
    same = Classifier.load(ensemble_of_runs(runs, tmp_path)).predict(list(test_part.path))
    columns = [c for c in answers if c.startswith("p_")]
    assert np.abs(same[columns] - answers[columns]).to_numpy().max() < 1e-4
    for column in ("answer", "set", "strange", "seen"):
        assert list(same[column]) == list(answers[column])


def test_an_ensemble_says_who_answers_and_whose_heat_maps_they_are(joint, test_part, tmp_path):
    from skin_nb.classifier import describe_answers
    said = describe_answers(joint, joint.predict(list(test_part.path[:2]), maps=tmp_path))
    assert any("2 models (mean): tiny 0.50, other 0.50" in line for line in said)
    assert any("heat maps: of tiny" in line for line in said)
    assert any("for each class (classes with few validation pictures together)" in line
               for line in said)
    assert len(list(tmp_path.rglob("*.png"))) == 2


def test_the_command_asks_an_ensemble(both, photos, capsys):
    assert predict_command(["--model", str(both), str(photos / "a/mole.jpg")]) == 0
    assert "joint answer of 2 models" in capsys.readouterr().out


def test_runs_become_an_ensemble_by_command(trial, other, both, tmp_path, capsys):
    from skin_nb.ensemble_command import ensemble_command
    from skin_nb.ensemble_files import read_any_info
    runs = [str(trial.folder), str(other.folder)]
    assert ensemble_command([*runs, "--out", str(tmp_path / "new")]) == 0
    said = capsys.readouterr().out
    assert "weight 0.50" in said and "on the test part" in said
    made = read_any_info(tmp_path / "new" / "model.ensemble")
    assert made["combination"] == read_any_info(both)["combination"]
    for more, text in ((["--out", str(tmp_path / "new")], "where something is already"),
                       (["--out", str(tmp_path / "x"), "--method", "best"], "one of mean"),
                       ([str(tmp_path), "--out", str(tmp_path / "x")], "predictions.csv"),
                       ([runs[0], "--out", str(tmp_path / "x")], "each of them once")):
        assert ensemble_command([*runs, *more]) == 2
        assert text in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
