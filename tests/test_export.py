"""A model in other formats: what the files answer, what goes beside them, what is said when it
can't be done."""
import functools
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from unittest.mock import patch
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skin_nb.export_command import export_command
from test_commands import class_folder

ALL = ["keras", "savedmodel", "litert", "litert_float16", "litert_int8", "onnx", "openvino"]
USUAL = ["keras", "litert_int8", "onnx"]  # of the second model; the rest is slow
OTHERS = [name for name in ALL if name not in USUAL]


def can_be_run(name):
    from skin_nb.exporting import EXPORT_FORMATS, _hindrance
    return _hindrance(EXPORT_FORMATS[name]) == ""


def train(home, table, recipe):
    from skin_nb.pictures import decode_images
    from skin_nb.training import fit_recipe, save_model
    images = decode_images(table, recipe.size, folder=home)
    fit = fit_recipe(recipe, table, images, home / recipe.name, folder=home, verbose=0)
    return save_model(fit, home / f"{recipe.name}.keras")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    "One reads metadata as well and knows seven classes; SampleNet has a single unit for melanoma."
    from skin_nb.preparation import split_by_lesion
    from skin_nb.readers import read_any
    from skin_nb.recipe import Head, Recipe, Stage, honest_recipe
    from skin_nb.sample import sample_folder
    from skin_nb.tasks import as_melanoma
    home = tmp_path_factory.mktemp("models")
    table = split_by_lesion(read_any(sample_folder()))
    few = table.iloc[::3].reset_index(drop=True)
    metadata = Recipe("metadata", "CustomCNN", 32, (Stage(3, 1e-3, unfreeze="all"),), scratch=True,
                      head=Head(dense=(8,), metadata=8, fusion="film"))
    frozen = honest_recipe("sample_net", "SampleNet", 128, stages=(Stage(3, 1e-3),),
                           head=Head(output="sigmoid"))
    return dict(metadata=train(home, few, metadata),
                sample_net=train(home, as_melanoma(few), frozen))


@pytest.fixture(scope="module")
def probes(models):
    from skin_nb.exporting import draw_probe, load_served
    from skin_nb.readers import read_any
    from skin_nb.sample import sample_folder
    served = {name: load_served(path) for name, path in models.items()}
    table = read_any(sample_folder())
    return {name: (one, draw_probe(one, table, 16)) for name, one in served.items()}


@pytest.fixture(scope="module")
def exports(probes, tmp_path_factory):
    "Exports a model when it is first asked for: its folder and its table."
    from skin_nb.exporting import export_model
    home = tmp_path_factory.mktemp("exports")
    wanted = dict(metadata=ALL, sample_net=USUAL)

    @functools.cache
    def export(name):
        served, probe = probes[name]
        return home / name, export_model(served, home / name, wanted[name], probe)

    return export


def examples(folder):
    "The pieces of Python in an export's README, by the files that they are for."
    parts = (folder / "README.md").read_text().split("\n## ")[1:]
    return {part.split("\n")[0]: part.split("```python\n")[1].split("```")[0] for part in parts}


def as_read(folder, side):
    "A picture in the folder, as the network is given it."
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (side + 9, side + 30, 3), dtype="uint8")
    Image.fromarray(pixels).save(folder / "picture.png")
    (folder / "picture.png").rename(folder / "picture.jpg")  # an honest PNG: nothing is lost
    from skin_nb.pictures import read_pixels
    return read_pixels(folder / "picture.jpg", side)[None]


def answers_of(served, folder):
    "What Keras says of that picture, nothing else being known."
    from skin_nb.exporting import _answer_with, describe_encoder
    inputs = dict(image=as_read(folder, served.side))
    if len(served.inputs) > 1:
        unknown = describe_encoder(served.info["encoder"])["unknown"]
        inputs["metadata"] = np.float32([unknown])
    return _answer_with(served.net, inputs)[0]


def check_row(row):
    from skin_nb.exporting import EXPORT_FORMATS
    if not can_be_run(row.format):
        pytest.skip(row.note)
    assert row.note == "" and row.difference <= EXPORT_FORMATS[row.format].tolerance
    assert row.mb > .01 and row.same_answer >= .9


@pytest.mark.parametrize("format", ALL)
def test_metadata_model_answers_as_keras_does(exports, format):
    _, table = exports("metadata")
    check_row(table[table.format == format].iloc[0])


@pytest.mark.slow
@pytest.mark.parametrize("format", USUAL)
def test_sample_net_answers_as_keras_does(exports, format):
    _, table = exports("sample_net")
    check_row(table[table.format == format].iloc[0])


@pytest.mark.slow
@pytest.mark.parametrize("format", OTHERS)
def test_sample_net_in_other_formats(probes, tmp_path, format):
    from skin_nb.exporting import try_format
    check_row(pd.Series(try_format(format, *probes["sample_net"], tmp_path)))


@pytest.mark.parametrize("name", ["metadata", "sample_net"])
def test_examples_do_what_skin_nb_does(probes, exports, monkeypatch, capsys, name):
    "Ten lines of the README, run as they stand, for each file."
    from skin_nb.exporting import EXPORT_FORMATS
    folder, table = exports(name)
    served, _ = probes[name]
    expected = answers_of(served, folder)
    monkeypatch.chdir(folder)
    found = examples(folder)
    files = [file for title in found for file in title.split(", ")]
    assert sorted(files) == sorted(file for file in table.file if file)
    allowed = {format.file: format.tolerance for format in EXPORT_FORMATS.values()}
    for title, code in found.items():
        known = {}
        exec(code, known)
        np.testing.assert_allclose(known["p"], expected, atol=allowed[title.split(", ")[0]])
        said = served.info["task"]["classes"][known["p"].argmax()]
        assert capsys.readouterr().out.split()[0] == said
        assert len(code.strip().splitlines()) <= 14


@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_an_example_needs_neither_skin_nb_nor_keras(exports, format):
    if not can_be_run(format):
        pytest.skip(f"nothing here runs {format}")
    folder, table = exports("metadata")
    as_read(folder, 32)
    file = table.file[table.format == format].iloc[0]
    code = next(code for title, code in examples(folder).items() if file in title)
    code += "\nimport sys\nprint({'skin_nb', 'keras', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "set()", done.stderr


def test_metadata_columns_are_explained(probes, exports):
    "With what stands in skin_nb.json a person can be encoded without skin_nb."
    from skin_nb.preparation import MetadataEncoder, encode_metadata
    folder, _ = exports("metadata")
    served, _ = probes["metadata"]
    about = json.loads((folder / "skin_nb.json").read_text())["metadata"]
    encoder = about["encoder"]
    person = pd.DataFrame(dict(age=[40.], sex=["female"], localization=["back"]))
    mine = np.zeros(len(about["columns"]), "float32")
    mine[0] = (40 - encoder["age_mean"]) / encoder["age_std"]
    for word in ("sex_female", "localization_back"):
        mine[about["columns"].index(word)] = 1
    theirs = encode_metadata(MetadataEncoder.from_dict(served.info["encoder"]), person)[0]
    np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def with_certainty(path, target, certainty):
    "A copy of a model with what a run has learnt about its answers."
    from skin_nb.model_files import model_seal
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.infolist():
            if item.filename != "skin_nb.json":
                new.writestr(item, old.read(item))
        new.writestr("skin_nb_certainty.json", json.dumps(certainty))
        info = json.loads(old.read("skin_nb.json"))
        info["certainty"] = new.getinfo("skin_nb_certainty.json").CRC
        new.writestr("skin_nb.json", json.dumps(info | dict(seal=model_seal(info, new))))
    return target


def test_a_calibration_goes_along(models, tmp_path, monkeypatch):
    "Its temperature is applied by the example; what needs the network's features stays behind."
    from skin_nb.exporting import load_served
    certainty = dict(temperature=2., level=.9, pictures=50, thresholds=[.9, None],
                     alarm=dict(limit=3., axes=[[1.]]))
    model = with_certainty(models["sample_net"], tmp_path / "model.keras", certainty)
    out = tmp_path / "out"
    assert export_command(["--model", str(model), "--to", "keras", "--out", str(out),
                           "--pictures", "4"]) == 0
    about = json.loads((out / "skin_nb.json").read_text())
    assert about["certainty"] == {k: v for k, v in certainty.items() if k != "alarm"}
    p = answers_of(load_served(model), out)
    monkeypatch.chdir(out)
    known = {}
    exec(examples(out)["model.keras"], known)
    np.testing.assert_allclose(known["p"], p ** .5 / (p ** .5).sum(), atol=1e-4)


def test_8_bits_are_not_fitted_to_what_is_compared(probes):
    for _, probe in probes.values():
        shown, compared = ({picture.tobytes() for picture in pictures["image"]}
                           for pictures in (probe.shown, probe.compared))
        assert not shown & compared
        assert probe.known == len(probe.shown["image"])  # the sample has enough of the model's own


def export(models, *arguments, model="metadata"):
    return export_command(["--model", str(models[model]), "--pictures", "4", *map(str, arguments)])


def test_what_cannot_be_done_is_said(models, tmp_path, capsys):
    from skin_nb import exporting
    absent = replace(exporting.EXPORT_FORMATS["onnx"], needs=("no_such_package",))
    with patch.dict(exporting.EXPORT_FORMATS, onnx=absent):
        code = export(models, "--to", "keras,onnx", "--out", tmp_path / "some")
        said = capsys.readouterr().out
        assert code == 1 and "onnx: can't: no_such_package not installed: pip install" in said
        assert "no_such_package" in (tmp_path / "some/README.md").read_text()
        assert export(models, "--to", "onnx", "--out", tmp_path / "none") == 2
    assert "no_such_package" in capsys.readouterr().err
    assert not (tmp_path / "none").exists() and len(list(tmp_path.iterdir())) == 1


def test_a_file_that_answers_differently_is_not_passed_over(models, tmp_path, capsys):
    from skin_nb import exporting
    start = exporting.EXPORT_FORMATS["keras"].start

    def start_mirrored(path):
        run = start(path)
        return lambda inputs: run(inputs)[:, ::-1]

    with patch.dict(exporting.EXPORT_FORMATS, keras=replace(exporting.EXPORT_FORMATS["keras"],
                                                     start=start_mirrored)):
        assert export(models, "--to", "keras", "--out", tmp_path / "out") == 1
    assert "keras: differs by more than 1e-05" in capsys.readouterr().out


def test_pictures_without_labels_do(models, tmp_path, capsys):
    class_folder(tmp_path / "mine", {"first": "mel", "second": "nv"})
    flat = tmp_path / "flat"
    flat.mkdir()
    for n, path in enumerate(sorted((tmp_path / "mine").rglob("*.*"))):
        shutil.copy(path, flat / f"{n}{path.suffix}")
    assert export(models, "--to", "keras", "--data", flat, "--out", tmp_path / "out") == 0
    assert f"Pictures: {flat}" in capsys.readouterr().out


BAD = {
    "unknown format": (["--to", "onx", "--out", "{}/new"], "Did you mean onnx?"),
    "no format": (["--to", "", "--out", "{}/new"], "one of keras"),
    "no pictures": (["--pictures", "0", "--out", "{}/new"], "a number from 1 to 1000"),
    "seed": (["--seed", "-1", "--out", "{}/new"], "0 or more"),
    "no data": (["--to", "keras", "--data", "{}/nowhere", "--out", "{}/new"], "nowhere"),
    "no model": (["--model", "{}/nothing.keras", "--out", "{}/new"], "nothing.keras"),
    "no such model": (["--model", "{}/there/mine.txt", "--out", "{}/new"], "model.keras"),
    "out is there": (["--to", "keras", "--out", "{}/there"], "where something is already"),
    "out is a file": (["--to", "keras", "--out", "{}/there/mine.txt"], "something is already"),
    "out below a file": (["--to", "keras", "--out", "{}/there/mine.txt/x"], "mine.txt")}


@pytest.mark.parametrize("arguments, expected", BAD.values(), ids=BAD)
def test_bad_arguments(models, tmp_path, capsys, arguments, expected):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/mine.txt").write_text("mine")
    code = export(models, *[argument.format(tmp_path) for argument in arguments])
    error = capsys.readouterr().err
    assert code == 2 and expected in error and "mistake of skin_nb" not in error, error
    assert (tmp_path / "there/mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
