"The command that scores a saved model, from the outside."
import json
import pytest
from test_commands import call, class_folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    "One epoch on the sample: the seven diagnoses, and melanoma with a single sigmoid unit."
    from dataclasses import replace
    from skin_nb.pictures import decode_images
    from skin_nb.preparation import split_by_lesion
    from skin_nb.readers import read_any
    from skin_nb.recipe import Head, Recipe, Stage
    from skin_nb.sample import sample_folder
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


def evaluated(model, data, out):
    "Score a model on a folder: what the terminal says, the metrics, the predictions."
    import pandas as pd
    r = call("skin_nb_evaluate", "--model", model, "--data", data, "--out", out)
    assert r.returncode == 0, r.stdout + r.stderr
    assert (out / "figures/confusion.png").exists()
    metrics = json.loads((out / "metrics.json").read_text())
    return r.stdout, metrics, pd.read_csv(out / "predictions.csv")


def test_evaluate_any_folder_and_size(models, tmp_path):
    "A model trained on the sample's layout scores pictures of another size in class folders."
    from skin_nb.tasks import HAM10000
    class_folder(tmp_path / "mine", {c: c for c in HAM10000.classes})
    said, record, predictions = evaluated(models["seven"], tmp_path / "mine", tmp_path / "out")
    assert "balanced_accuracy" in said and "42 images" in said and "Left out" not in said
    assert record["metrics"]["n"] == len(predictions) == 42
    assert (tmp_path / "out/submission.csv").exists()


def test_evaluate_leaves_out_classes_that_the_model_lacks(models, tmp_path):
    class_folder(tmp_path / "mine", {"mel": "mel", "nv": "nv", "scc": "df"})
    said, record, predictions = evaluated(models["seven"], tmp_path / "mine", tmp_path / "out")
    assert "12 images" in said and "doesn't know the class: 6 of scc" in said
    assert record["left_out"] == {"scc": 6} and set(predictions.dx) == {"mel", "nv"}


def test_evaluate_a_melanoma_model(models, tmp_path):
    class_folder(tmp_path / "mine", {"mel": "mel", "nv": "nv", "bkl": "bkl"})
    said, record, predictions = evaluated(models["melanoma"], tmp_path / "mine", tmp_path / "out")
    assert "auc" in said and "18 images" in said
    assert predictions.dx.value_counts().to_dict() == {"other": 12, "mel": 6}
    assert abs(predictions.p_mel + predictions.p_other - 1).max() < 1e-6
    assert record["metrics"]["classes"] == ["other", "mel"]
    assert not (tmp_path / "out/submission.csv").exists()


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
