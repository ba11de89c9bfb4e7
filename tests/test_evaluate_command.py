"The command that scores a saved model, and what it knows of the model's training."
import json
import shutil
import zipfile
from pathlib import Path
import pytest
from skin_nb.evaluate_command import evaluate_command
from skin_nb.readers import read_any
from skin_nb.sample import sample_folder
from test_commands import call, class_folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    "One epoch on the sample: the seven diagnoses, and melanoma with a single sigmoid unit."
    from dataclasses import replace
    from skin_nb.pictures import decode_images
    from skin_nb.preparation import split_by_lesion
    from skin_nb.recipe import Head, Recipe, Stage
    from skin_nb.tasks import as_melanoma
    from skin_nb.training import fit_recipe, save_model
    home = tmp_path_factory.mktemp("models")
    table = split_by_lesion(read_any(sample_folder()))
    images = decode_images(table, 32, folder=home)
    head = Head(pool="flatten", dense=(8,))
    recipe = Recipe("tiny", "CustomCNN", 32, (Stage(1, 1e-3, unfreeze="all"),), scratch=True,
                    head=head)
    binary = replace(recipe, head=replace(head, output="sigmoid"))

    def train(recipe, table, name):
        fit = fit_recipe(recipe, table, images, home / name / "fit", folder=home, verbose=0)
        return save_model(fit, home / name / "model.keras")
    return dict(seven=train(recipe, table, "seven"),
                melanoma=train(binary, as_melanoma(table), "melanoma"))


@pytest.fixture
def evaluated(capsys):
    "Score a model on a folder: what the terminal says, the metrics, the predictions."
    import pandas as pd

    def score(model, data, out):
        code = evaluate_command(["--model", str(model), "--data", str(data), "--out", str(out)])
        said = capsys.readouterr()
        assert code == 0, said.err
        assert (out / "figures/confusion.png").exists()
        metrics = json.loads((out / "metrics.json").read_text())
        return said.out, metrics, pd.read_csv(out / "predictions.csv")
    return score


def test_evaluate_any_folder_and_size(models, evaluated, tmp_path):
    "A model trained on the sample's layout scores pictures of another size in class folders."
    from skin_nb.tasks import HAM10000
    class_folder(tmp_path / "mine", {c: c for c in HAM10000.classes})
    said, record, predictions = evaluated(models["seven"], tmp_path / "mine", tmp_path / "out")
    assert "balanced_accuracy" in said and "42 images" in said and "Left out" not in said
    assert record["metrics"]["n"] == len(predictions) == 42
    assert (tmp_path / "out/submission.csv").exists()


def test_evaluate_leaves_out_classes_that_the_model_lacks(models, evaluated, tmp_path):
    class_folder(tmp_path / "mine", {"mel": "mel", "nv": "nv", "scc": "df"})
    said, record, predictions = evaluated(models["seven"], tmp_path / "mine", tmp_path / "out")
    assert "12 images" in said and "doesn't know the class: 6 of scc" in said
    assert record["left_out"] == {"scc": 6} and set(predictions.dx) == {"mel", "nv"}


def test_evaluate_a_melanoma_model(models, evaluated, tmp_path):
    class_folder(tmp_path / "mine", {"mel": "mel", "nv": "nv", "bkl": "bkl"})
    said, record, predictions = evaluated(models["melanoma"], tmp_path / "mine", tmp_path / "out")
    assert "auc" in said and "18 images" in said
    assert predictions.dx.value_counts().to_dict() == {"other": 12, "mel": 6}
    assert abs(predictions.p_mel + predictions.p_other - 1).max() < 1e-6
    assert record["metrics"]["classes"] == ["other", "mel"]
    assert not (tmp_path / "out/submission.csv").exists()


def test_seven_classes_are_asked_for_melanoma_where_a_folder_knows_no_more(
    models, evaluated, tmp_path
):
    from skin_nb.sample import siim_sample_folder
    said, record, predictions = evaluated(models["seven"], siim_sample_folder(), tmp_path / "out")
    assert record["metrics"]["classes"] == ["other", "mel"] and record["left_out"] == {}
    assert len(predictions) == 300 and "50 patients" in said
    assert abs(predictions.p_mel + predictions.p_other - 1).max() < 1e-6


def test_what_is_different_away_from_home(models, tmp_path, capsys):
    "With --home both answers, with labels and without, say how the folder differs from home."
    class_folder(tmp_path / "mine", {"mel": "mel", "nv": "nv", "bkl": "bkl"})
    asked = ["--model", str(models["seven"]), "--data", str(tmp_path / "mine"), "--home", "sample"]
    assert evaluate_command([*asked, "--out", str(tmp_path / "scored")]) == 0
    said = capsys.readouterr().out
    away = json.loads((tmp_path / "scored/metrics.json").read_text())["away"]
    assert all(f"- {line}" in said for line in away["lines"])
    assert 0 <= away["strange"]["strange"] < .5  # the folder is cut from the sample
    assert away["labelled"]["sick"] == 6 and away["labelled"]["chosen_on"] == "test"
    assert evaluate_command([*asked, "--unlabelled", "--out", str(tmp_path / "answered")]) == 0
    record = json.loads((tmp_path / "answered/metrics.json").read_text())
    assert record["away"]["labelled"] is None and record["away"]["shift"] == away["shift"]


def test_home_needs_no_labels_and_three_pictures_are_no_place(models, tmp_path, capsys):
    from skin_nb.own_data import read_pictures
    home, mine = tmp_path / "home", tmp_path / "mine"
    class_folder(tmp_path / "classes", {c: c for c in ("mel", "nv", "bkl", "df", "bcc")})
    for folder, rows in ((home, slice(0, 24)), (mine, slice(24, 27))):
        folder.mkdir()
        for path in map(Path, read_pictures(tmp_path / "classes").path[rows]):
            shutil.copy(path, folder / f"{path.parent.name}_{path.name}")
    asked = ["--model", str(models["melanoma"]), "--data", str(mine), "--unlabelled"]
    assert evaluate_command([*asked, "--home", str(home), "--out", str(tmp_path / "out")]) == 0
    lines = json.loads((tmp_path / "out/metrics.json").read_text())["away"]["lines"]
    assert "24 pictures, taken without labels" in lines[0] and "only 3 pictures here" in lines[1]
    assert "3 pictures: " in capsys.readouterr().out


def test_labels_of_pictures_that_were_seen_say_nothing_of_another_place(models, tmp_path):
    from skin_nb.preparation import split_by_lesion
    table = split_by_lesion(read_any(sample_folder()))
    train = table[table.split == "train"].groupby("dx").head(4)
    copy_pictures(train, tmp_path / "mine")
    class_folder(tmp_path / "home", {c: c for c in ("mel", "nv", "bkl", "df")})
    asked = ["--model", str(models["seven"]), "--data", str(tmp_path / "mine")]
    asked += ["--home", str(tmp_path / "home")]
    assert evaluate_command([*asked, "--out", str(tmp_path / "out")]) == 0
    away = json.loads((tmp_path / "out/metrics.json").read_text())["away"]
    assert away["labelled"] is None and away["shift"]
    assert not any("AUC of" in line for line in away["lines"])


def test_pictures_without_labels_are_answered(models, tmp_path, capsys):
    import pandas as pd
    class_folder(tmp_path / "mine", {"mel": "mel", "nv": "nv"})
    out = tmp_path / "out"
    arguments = [
        "--model",
        str(models["seven"]),
        "--data",
        str(tmp_path / "mine"),
        "--out",
        str(out),
    ]
    assert evaluate_command([*arguments, "--unlabelled"]) == 0
    said = capsys.readouterr().out
    assert "12 pictures: " in said and "no answer here is a diagnosis" in said
    answers = pd.read_csv(out / "answers.csv")
    p = answers.filter(like="p_")
    assert len(answers) == 12 and abs(p.sum(axis=1) - 1).max() < 1e-5
    assert (answers.answer == p.idxmax(axis=1).str.removeprefix("p_")).all()
    scored = tmp_path / "scored"
    assert evaluate_command([*arguments[:-1], str(scored)]) == 0
    predictions = pd.read_csv(scored / "predictions.csv")[p.columns]
    # the order is that of names in both
    assert abs(predictions.to_numpy() - p.to_numpy()).max() < 1e-6


def test_evaluate_takes_thresholds_from_another_group(models, tmp_path):
    "The run's validation part was grouped by patients, the folder that is judged by lesions."
    from skin_nb.evaluate_command import add_validation
    from skin_nb.predictions import invent_predictions
    valid = invent_predictions(50, split="valid").rename(columns={"lesion_id": "patient_id"})
    valid.attrs.clear()
    both = add_validation(invent_predictions(60), valid)
    assert both.lesion_id.notna().all() and set(both.split) == {"test", "valid"}


def test_evaluate_refuses_what_does_not_fit(models, tmp_path):
    class_folder(tmp_path / "birds", {"crow": "nv", "owl": "mel"})
    for name, model in models.items():
        r = call("skin_nb_evaluate", "--model", model, "--data", tmp_path / "birds")
        assert r.returncode == 2 and "crow, owl" in r.stderr and "mel" in r.stderr, name
        assert "Traceback" not in r.stderr


def test_evaluate_needs_a_model():
    r = call("skin_nb_evaluate", "--model", "none.keras", "--data", "sample")
    assert r.returncode == 2 and "none.keras" in r.stderr


# what the model has seen

def as_before(model, path):
    "A copy of a model's file without seal and without what the model has seen."
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "skin_nb.json":
                info = json.loads(content)
                for key in ("seen", "seal", "graph"):
                    del info[key]
                content = json.dumps(info)
            if name != "skin_nb_seen.json":
                new.writestr(name, content)
    return path


def copy_pictures(table, folder):
    "Some pictures of the sample, a folder a class, under names that say nothing."
    for n, row in enumerate(table.itertuples()):
        (folder / row.dx).mkdir(parents=True, exist_ok=True)
        shutil.copy(row.path, folder / row.dx / f"image_{n}.jpg")


def test_a_model_knows_the_pictures_that_it_was_trained_on(models, evaluated, tmp_path):
    said, record, _ = evaluated(models["seven"], sample_folder(), tmp_path / "out")
    seen = record["seen"]
    assert said.startswith(f"WARNING: this model has seen {seen['seen']} of these 420 pictures")
    assert seen["seen"] + seen["unseen"] == 420 and 250 < seen["seen"] < 380 and seen["valid"] > 20
    assert record["metrics_not_seen"]["n"] == seen["unseen"] and "not seen" in said
    assert record["metrics"]["n"] == 420


def test_pictures_are_known_under_other_names(models, evaluated, tmp_path):
    from skin_nb.preparation import split_by_lesion
    table = split_by_lesion(read_any(sample_folder()))
    copy_pictures(table[table.split == "train"].groupby("dx").head(3), tmp_path / "train")
    said, record, _ = evaluated(models["seven"], tmp_path / "train", tmp_path / "out")
    assert record["seen"]["pixels"] == record["seen"]["pictures"] == 21
    assert "nothing honest to score" in said.splitlines()[0]
    copy_pictures(table[table.split == "test"].groupby("dx").head(3), tmp_path / "test")
    said, record, _ = evaluated(models["seven"], tmp_path / "test", tmp_path / "out")
    assert record["seen"]["seen"] == 0 and "WARNING" not in said
    assert record["metrics_not_seen"] is None


def test_a_model_of_before_says_that_it_does_not_know(models, evaluated, tmp_path):
    old = as_before(models["seven"], tmp_path / "old.keras")
    class_folder(tmp_path / "mine", {"mel": "mel", "nv": "nv"})
    said, record, _ = evaluated(old, tmp_path / "mine", tmp_path / "out")
    assert "can't be checked" in said.splitlines()[0] and record["seen"] is None
    assert "no seal" in said
