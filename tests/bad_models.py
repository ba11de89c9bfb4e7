"Bad models, weights, checkpoints, caches, baselines and places for results."
import errno
import json
import os
import tempfile
import warnings
import zipfile
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch
import numpy as np
from corpus import Bad, by_command
from PIL import Image
from skin_nb.cache import RowCache, fill, shared_lock
from skin_nb.evaluate_command import evaluate_command
from skin_nb.records import keep_run
from skin_nb.rows import collect_results, read_results
from skin_nb.tasks import HAM10000, task_to_dict

SIZE = 16
HOME = tempfile.TemporaryDirectory()


@lru_cache
def good_model():
    "A model as `save_model` writes it, made once; the cases change copies of its file."
    from skin_nb.recipe import Head, Recipe, Stage
    from skin_nb.models import build_model
    from skin_nb.training import save_model
    recipe = Recipe("tiny", "CustomCNN", 32, (Stage(1, 1e-3, unfreeze="all"),), scratch=True,
                    head=Head(pool="flatten"))
    model, _ = build_model(recipe, HAM10000)
    fit = SimpleNamespace(model=model, recipe=recipe, task=HAM10000, encoder=None, seen={})
    return save_model(fit, Path(HOME.name) / "model.keras")


def members():
    with zipfile.ZipFile(good_model()) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_model(path, contents):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def load(path):
    "The call of a case: load a model."
    from skin_nb.model_loading import load_model
    return partial(load_model, path)


def raw(change):
    "A model's file whose bytes are changed."
    def make(folder):
        path = folder / "model.keras"
        path.write_bytes(change(good_model().read_bytes()))
        return load(path)
    return make


def edited(member, change, sealed=True):
    "A model's file of which a member is changed (None: left out); without its seal if asked."
    def make(folder):
        contents = members()
        if not sealed:
            info = json.loads(contents["skin_nb.json"])
            del info["seal"]
            contents["skin_nb.json"] = json.dumps(info)
        changed = change(contents.pop(member))
        if changed is not None:
            contents[member] = changed
        return load(write_model(folder / "model.keras", contents))
    return make


def in_json(**changes):
    "A change of an object in JSON; what is changed to None is left out."
    def change(content):
        changed = json.loads(content) | changes
        return json.dumps({k: v for k, v in changed.items() if v is not None or k == "encoder"})
    return change


def in_layers(kind, change):
    "A change of all layers of a kind in a model's configuration."
    def whole(content):
        config = json.loads(content)
        for layer in config["config"]["layers"]:
            if layer["class_name"] == kind:
                change(layer)
        return json.dumps(config)
    return whole


def network(layers_of, **info):
    "A foreign network with a skin_nb.json beside it: `layers_of` makes it from keras."
    def make(folder):
        import keras
        path = folder / "model.keras"
        layers_of(keras).save(path)
        record = dict(task=task_to_dict(HAM10000), encoder=None,
                      recipe=dict(size=SIZE, views=dict(count=1))) | info
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("skin_nb.json", json.dumps(record))
        return load(path)
    return make


def small(keras, shape=(SIZE, SIZE, 3), units=7, batch=None, activation="softmax"):
    return keras.Sequential([keras.Input(shape, batch_size=batch),
                             keras.layers.GlobalAveragePooling2D(),
                             keras.layers.Dense(units, activation=activation)])


def two_outputs(keras):
    image = keras.Input((SIZE, SIZE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    return keras.Model(image, [keras.layers.Dense(7)(pooled), pooled])


def two_inputs(keras):
    image = keras.Input((SIZE, SIZE, 3), name="image")
    words = keras.Input((5,), name="metadata")
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    joined = keras.layers.Concatenate()([pooled, words])
    return keras.Model([image, words], keras.layers.Dense(7, "softmax")(joined))


def enlarged(keras):
    "A few kilobytes that would take 160 GB."
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.UpSampling2D(900),
                             keras.layers.GlobalAveragePooling2D(),
                             keras.layers.Dense(7, "softmax")])


def answers(**options):
    "The answers of a foreign network."
    def make(folder):
        network(partial(small, **options))(folder)
        from skin_nb.model_loading import load_model
        from skin_nb.training import predict_table
        path = folder / "model.keras"
        pictures = np.zeros((3, SIZE, SIZE, 3), "uint8")
        return lambda: predict_table(path, load_model(path), range(3), pictures)
    return make


def with_limit(make, gigabytes):
    def limited(folder):
        call = make(folder)

        def within():
            with patch.dict(os.environ, SKIN_NB_MODEL_GB=gigabytes):
                return call()
        return within
    return limited


def set_key(key, value):
    def change(layer):
        layer["config"][key] = value
    return change


def set_class(name):
    def change(layer):
        layer.update(class_name=name, registered_name=name, module="mine")
    return change


def set_lambda(layer):
    config = {"code": "4wA=", "defaults": None, "closure": None}
    code = {"class_name": "__lambda__", "config": config}
    layer.update(class_name="Lambda", registered_name=None, config=dict(function=code))


def permute(content):
    info = json.loads(content)
    info["task"]["classes"] = sorted(info["task"]["classes"], reverse=True)
    return json.dumps(info)


def other_task(**changes):
    return in_json(task=task_to_dict(HAM10000) | changes)


def encrypt(content):
    "The same archive with the flag of encryption on every member."
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        content = content[:at + 8] + b"\x01" + content[at + 9:]
        at = content.find(b"PK\x01\x02", at + 4)
    return content


def damage(content):
    "One byte of the weights in the archive is another."
    at = content.find(b"\x89HDF") + 5000
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1:]


def special(kind, name="model.keras"):
    "Something else than a file at the model's place."
    def make(folder):
        kind(folder / name)
        return load(folder / name)
    return make


def newer(folder):
    contents = members()
    tomorrow = in_layers("Dense", set_key("argument_of_tomorrow", {"x": 1}))
    contents["config.json"] = tomorrow(contents["config.json"])
    contents["metadata.json"] = in_json(keras_version="9.9.9")(contents["metadata.json"])
    return load(write_model(folder / "model.keras", contents))


def other_weights(folder):
    "The weights of another training in a model's file."
    import h5py
    contents = members()
    path = folder / "weights.h5"
    path.write_bytes(contents["model.weights.h5"])
    with h5py.File(path, "r+") as file:
        file.visititems(lambda name, item: item.write_direct(np.asarray(item[()] * 2))
                        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" else None)
    contents["model.weights.h5"] = path.read_bytes()
    return load(write_model(folder / "model.keras", contents))


def doubled(folder):
    contents = members()
    path = write_model(folder / "model.keras", contents)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("config.json", contents["config.json"])
    return load(path)


# the command

def evaluate(prepare=None, out="{}/out", model="{}/run/model.keras", data="{}/data", more=()):
    "skin_nb_evaluate on two class folders; {} is the case's folder."
    def make(folder):
        (folder / "run").mkdir()
        (folder / "run/model.keras").write_bytes(good_model().read_bytes())
        for n, name in enumerate(("mel", "nv")):
            (folder / "data" / name).mkdir(parents=True)
            for k in range(2):
                picture = Image.new("RGB", (SIZE, SIZE), (90 * n, 40 * k, 60))
                picture.save(folder / "data" / name / f"{name}{k}.png")
        if prepare:
            prepare(folder)
        arguments = ["--model", model, "--data", data, "--out", out, *more]
        return by_command(evaluate_command, *[a.format(folder) for a in arguments])
    return make


def write(name, content):
    def prepare(folder):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return prepare


def other_predictions(folder):
    from skin_nb.predictions import invent_predictions, write_predictions
    from skin_nb.tasks import MELANOMA
    write_predictions(folder / "run/predictions.csv", invent_predictions(9, task=MELANOMA))


# weights, checkpoints, caches

def weights(name, content=None, network="MobileNetV2", kind=None):
    "A file of weights that is looked up and loaded."
    def make(folder):
        from skin_nb.backbones import find_weights, load_into
        path = folder / name
        if kind:
            kind(path)
        elif content is not None:
            path.write_bytes(content)

        def call():
            import keras
            image = keras.Input((SIZE, SIZE, 3), name="image")
            net = keras.Model(image, keras.layers.Conv2D(2, 3)(image), name=network)
            return load_into(net, find_weights(network, path))
        return call
    return make


def large_h5(path):
    import h5py
    with h5py.File(path, "w") as file:
        file.create_dataset("kernel", (2 ** 20, 2 ** 20), "f4", chunks=True)


def checkpoint(kind):
    def make(folder):
        from skin_nb.checkpoints import read_checkpoint
        kind(folder / "stage1.ckpt.npz")
        return partial(read_checkpoint, folder / "stage1.ckpt.npz", "key")
    return make


def unfit_checkpoint(folder):
    import keras
    from skin_nb.checkpoints import read_checkpoint, restore_checkpoint, write_checkpoint
    path = folder / "stage1.ckpt.npz"
    net = small(keras)
    net.compile("sgd", "mse")
    record = dict(epoch=0, done=False, stopped=False, history=[])
    write_checkpoint(path, "key", net, [], record)
    wider = small(keras, units=9)
    wider.compile("sgd", "mse")
    return lambda: restore_checkpoint(read_checkpoint(path, "key"), wider, [])


def cache(prepare=None, refused=None):
    "A row cache that can't be made."
    def make(folder):
        if prepare:
            prepare(folder)

        def call():
            path = folder / "cache/rows.npy"
            if refused is None:
                return RowCache(path, (5, 2), "float32")
            with patch("skin_nb.cache.FileLock.acquire", side_effect=OSError(
                    refused, os.strerror(refused))):
                return shared_lock(folder / "rows.lock").__enter__()
        return call
    return make


def no_room(folder):
    rows = RowCache(folder / "rows.npy", (1000, 200), "float32")

    def call():
        with patch("shutil.disk_usage") as usage:
            usage.return_value.free = 1000
            return fill(rows, lambda numbers: np.zeros((len(numbers), 200)))
    return call


def full_disk(folder):
    rows = RowCache(folder / "rows.npy", (10, 2), "float32")

    def call():
        with patch("skin_nb.cache.open", create=True, side_effect=OSError(
                errno.ENOSPC, os.strerror(errno.ENOSPC))):
            return rows.write(np.arange(3), np.zeros((3, 2)))
    return call


def no_backend(folder):
    from skin_nb.backbones import require_backend

    def call():
        with patch.dict(os.environ, KERAS_BACKEND="theano"):
            return require_backend()
    return call


# results

HEAD = "recipe,protocol,split,fold,seed,accuracy,auc\n"


def results(content=None, name="rows.csv", kind=None, path="rows.csv"):
    "A file of results that is read; `path` is what is asked for."
    def make(folder):
        if kind:
            kind(folder / name)
        elif content is not None:
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return partial(read_results, folder / path)
    return make


def run_of(content, call=collect_results):
    "A run folder whose only notebook has left this metrics.json."
    def make(folder):
        write("run/30_a/metrics.json", content)(folder)
        return partial(call, folder / "run")
    return make


def records(content):
    def make(folder):
        write("run/30_a/honest/history.csv", content)(folder)
        return partial(keep_run, folder / "run", folder / "kept", "mine")
    return make


mkdir = Path.mkdir

MODELS = [
    Bad("bad_model_missing", special(lambda path: None), ("model.keras", "no such file")),
    Bad("bad_model_folder", special(mkdir), ("a folder", "Name the model.keras of a run")),
    Bad("bad_model_pipe", special(os.mkfifo), ("a pipe",)),
    Bad("bad_model_empty", raw(lambda content: b""), ("{folder}/model.keras", "BadZipFile")),
    Bad("bad_model_text", raw(lambda content: b"<html>Please log in"), ("BadZipFile",)),
    Bad("bad_model_cut", raw(lambda content: content[: len(content) // 2]), ("BadZipFile",)),
    Bad("bad_model_damaged", raw(damage), ("model.keras", "CRC")),
    Bad("bad_model_encrypted", raw(encrypt), ("encrypted",)),
    Bad("bad_model_doubled_member", doubled, ("two files of one name",)),
    Bad(
        "bad_model_other_suffix",
        lambda folder: load(write_model(folder / "model.zip", members())),
        ("model.zip",),
    ),
    Bad(
        "bad_model_of_plain_keras",
        edited("skin_nb.json", lambda content: None),
        ("without skin_nb.json", "save_model"),
    ),
    Bad(
        "bad_model_without_weights",
        edited("model.weights.h5", lambda content: None),
        ("without model.weights.h5",),
    ),
    Bad(
        "bad_model_json_broken",
        edited("skin_nb.json", lambda content: content[:40]),
        ("model.keras",),
    ),
    Bad("bad_model_json_list", edited("skin_nb.json", lambda content: b"[]"), ("understood",)),
    Bad(
        "bad_model_json_deep",
        edited("skin_nb.json", lambda content: b"[" * 100_000),
        ("model.keras",),
    ),
    Bad("bad_model_json_bytes", edited("skin_nb.json", lambda content: b"\xff\xfe{}"), ()),
    Bad("bad_model_no_recipe", edited("skin_nb.json", in_json(recipe=None)), ("'recipe'",)),
    Bad("bad_model_no_task", edited("skin_nb.json", in_json(task=None)), ("'classes'",)),
    Bad("bad_model_encoder_text", edited("skin_nb.json", in_json(encoder="age")), ("understood",)),
    Bad(
        "bad_model_size_text",
        edited("skin_nb.json", in_json(recipe=dict(size="large", views={}))),
        ("understood",),
    ),
    Bad("bad_model_classes_permuted", edited("skin_nb.json", permute), ("changed after",)),
    Bad(
        "bad_model_classes_text",
        edited("skin_nb.json", other_task(classes="nv"), sealed=False),
        ("no list of names",),
    ),
    Bad(
        "bad_model_class_twice", edited("skin_nb.json", other_task(classes=["a", "a"])), ("twice",)
    ),
    Bad(
        "bad_model_fewer_classes",
        edited(
            "skin_nb.json",
            other_task(classes=["nv", "mel"], malignant=[], long_names=[], colours=[]),
            sealed=False,
        ),
        ("for 2 classes",),
    ),
    Bad("bad_model_other_weights", other_weights, ("changed after",)),
    Bad(
        "bad_model_weights_text",
        edited("model.weights.h5", lambda content: b"weights"),
        ("changed after",),
    ),
    Bad(
        "bad_model_newer_keras",
        newer,
        ("model.keras", "argument_of_tomorrow", "Keras 9.9.9", "pip install keras==9.9.9"),
    ),
    Bad(
        "bad_model_custom_class",
        edited("config.json", in_layers("Dense", set_class("Mine"))),
        ("'Mine'", "never loaded"),
    ),
    Bad(
        "bad_model_lambda",
        edited("config.json", in_layers("Dense", set_lambda)),
        ("Lambda", "never loaded"),
    ),
    Bad(
        "bad_model_layers_changed",
        edited("config.json", in_layers("Dense", set_key("activation", "relu"))),
        ("layers that were changed",),
    ),
    Bad("bad_model_config_list", edited("config.json", lambda content: b"[]"), ("model.keras",)),
    Bad(
        "bad_model_wide_layer",
        edited("config.json", in_layers("Dense", set_key("units", 10**7))),
        ("GB", "SKIN_NB_MODEL_GB"),
    ),
    Bad(
        "bad_model_absurd_layer",
        edited("config.json", in_layers("Dense", set_key("units", 10**30))),
        ("model.keras",),
    ),
    Bad("bad_model_enlarging", network(enlarged), ("up_sampling2d", "SKIN_NB_MODEL_GB")),
    Bad("bad_model_over_the_limit", with_limit(raw(bytes), "1e-6"), ("SKIN_NB_MODEL_GB",)),
    Bad("bad_model_limit_text", with_limit(raw(bytes), "lots"), ("SKIN_NB_MODEL_GB", "'lots'")),
    Bad("bad_model_grey", network(partial(small, shape=(SIZE, SIZE, 1))), ("1 colour channel",)),
    Bad("bad_model_oblong", network(partial(small, shape=(SIZE, 24, 3))), ("16 × 24 pixels",)),
    Bad("bad_model_fixed_batch", network(partial(small, batch=8)), ("exactly 8 pictures",)),
    Bad("bad_model_too_many_answers", network(partial(small, units=9)), ("for 7 classes",)),
    Bad("bad_model_two_outputs", network(two_outputs), ("outputs of shapes",)),
    Bad("bad_model_wants_metadata", network(two_inputs), ("2 inputs (image, metadata)",)),
    Bad("bad_model_answers_logits", answers(activation=None), ("add up to 1", "softmax")),
    Bad("bad_model_answers_sigmoids", answers(activation="sigmoid"), ("0.5, 0.5", "softmax")),
    Bad("bad_evaluate_model_folder", evaluate(model="{}/run"), ("a folder",)),
    Bad("bad_evaluate_no_such_data", evaluate(data="{}/none"), ("none",)),
    Bad(
        "bad_evaluate_out_is_a_file",
        evaluate(write("out", "mine")),
        ("no folder to write to", "--out"),
    ),
    Bad(
        "bad_evaluate_out_below_a_file",
        evaluate(write("out", "mine"), out="{}/out/x"),
        ("no folder to write to", "--out"),
    ),
    Bad("bad_evaluate_out_in_data", evaluate(out="{}/data/mel/out"), ("inside the data", "--out")),
    Bad("bad_evaluate_out_is_data", evaluate(out="{}/data"), ("inside the data", "--out")),
    Bad(
        "bad_evaluate_unlabelled_layout",
        evaluate(more=("--unlabelled", "--layout", "folders")),
        ("--unlabelled", "Leave one of the two out"),
    ),
    Bad(
        "bad_evaluate_unlabelled_sample",
        evaluate(data="sample", more=("--unlabelled",)),
        ("--unlabelled", "the sample has labels"),
    ),
    Bad(
        "bad_evaluate_unlabelled_nowhere",
        evaluate(data="{}/none", more=("--unlabelled",)),
        ("none", "no such folder"),
    ),
    Bad("bad_evaluate_out_too_long", evaluate(out="{}/" + "x" * 300), ("too long", "--out")),
    Bad(
        "bad_evaluate_out_with_figures_of_others",
        evaluate(write("out/figures/roc.png", "mine")),
        ("{folder}/out", "figures of something else", "--out"),
    ),
    Bad("bad_evaluate_out_empty", evaluate(out=" "), ("--out",)),
    Bad(
        "bad_evaluate_out_of_a_run",
        evaluate(write("run/predictions.csv", "a,b\n"), out="{}/run"),
        ("something else", "--out"),
    ),
    Bad(
        "bad_evaluate_predictions_broken",
        evaluate(write("run/predictions.csv", "a,b\n1,2\n")),
        ("predictions.csv",),
    ),
    Bad(
        "bad_evaluate_predictions_of_others",
        evaluate(other_predictions),
        ("predictions.csv", "Move the file away"),
    ),
    Bad("bad_evaluate_home_is_not_there", evaluate(more=("--home", "{}/none")), ("none",)),
    Bad(
        "bad_evaluate_home_is_the_data",
        evaluate(more=("--home", "{}/data")),
        ("--home", "doesn't differ from itself"),
    ),
    Bad(
        "bad_evaluate_home_around_the_data",
        evaluate(more=("--home", "{}/data/..")),
        ("--home", "not inside it or around it"),
    ),
    Bad(
        "bad_evaluate_home_is_a_model",
        evaluate(data="sample", more=("--home", "{}/run/model.keras")),
        ("model.keras",),
    ),
    Bad(
        "bad_evaluate_home_of_four_pictures",
        evaluate(data="sample", more=("--home", "{}/data")),
        ("--home", "twenty at least"),
    ),
    Bad("bad_evaluate_layout_unknown", evaluate(more=("--layout", "mine")), ("'mine'",)),
    Bad("bad_evaluate_part_unknown", evaluate(more=("--part", "mine")), ("mine",)),
    Bad("bad_weights_missing", weights("none.weights.h5"), ("--weights",)),
    Bad(
        "bad_weights_folder_without",
        weights("folder", kind=mkdir),
        ("mobilenetv2_notop.weights.h5", "--weights"),
    ),
    Bad("bad_weights_pipe", weights("mobilenetv2_notop.weights.h5", kind=os.mkfifo), ("a pipe",)),
    Bad("bad_weights_name", weights("mine.weights.h5", b"x"), ("Rename the file",)),
    Bad("bad_weights_text", weights("mobilenetv2_notop.weights.h5", b"<html>"), ("don't fit",)),
    Bad("bad_weights_empty_npz", weights("a.npz", b""), ("a.npz", "don't fit")),
    Bad("bad_weights_text_npz", weights("a.npz", b"PK\x03\x04 no archive"), ("don't fit",)),
    Bad(
        "bad_weights_large",
        weights("mobilenetv2_notop.weights.h5", kind=large_h5),
        ("GB of arrays",),
    ),
    Bad(
        "bad_weights_of_another",
        weights("a.npz", network="SampleNet", kind=lambda path: np.savez(path, a=np.zeros(3))),
        ("don't fit",),
    ),
    Bad("bad_keras_backend", no_backend, ("KERAS_BACKEND", "pip install")),
    Bad("bad_checkpoint_folder", checkpoint(mkdir), ("stage1.ckpt.npz", "Delete it")),
    Bad("bad_checkpoint_pipe", checkpoint(os.mkfifo), ("a pipe", "Delete it")),
    Bad("bad_checkpoint_of_another_network", unfit_checkpoint, ("don't fit", "starts anew")),
    Bad("bad_cache_below_a_file", cache(write("cache", "a file")), ("rows.npy", "SKIN_NB_CACHE")),
    Bad(
        "bad_cache_file_is_a_folder",
        cache(lambda folder: mkdir(folder / "cache/rows.npy", parents=True)),
        ("rows.npy", "SKIN_NB_CACHE"),
    ),
    Bad("bad_cache_no_locks", cache(refused=errno.ENOLCK), ("SKIN_NB_CACHE", "lock")),
    Bad("bad_cache_no_room", no_room, ("GB", "SKIN_NB_CACHE")),
    Bad("bad_cache_full_disk", full_disk, ("SKIN_NB_CACHE",)),
    Bad("bad_baseline_missing", results(), ("rows.csv", "no such file")),
    Bad("bad_baseline_empty", results(""), ("rows.csv", "no table")),
    Bad("bad_baseline_pipe", results(kind=os.mkfifo), ("a pipe",)),
    Bad(
        "bad_baseline_folder_without",
        results(kind=mkdir, name="kept", path="kept"),
        ("no results",),
    ),
    Bad("bad_baseline_picture", results(b"\x89PNG\r\n\x1a\n\x00\xff" * 9), ("rows.csv",)),
    Bad("bad_baseline_other_table", results("image_id,dx\na,nv\n"), ("no column recipe",)),
    Bad(
        "bad_baseline_score_text",
        results(HEAD + 2 * "a,honest,lesion,0,0,good,\n"),
        ("row 2", "accuracy 'good'", "Correct the cell"),
    ),
    Bad(
        "bad_baseline_score_nan",
        results(HEAD + "a,honest,lesion,0,0,.5,NaN\n"),
        ("row 2", "auc nan"),
    ),
    Bad(
        "bad_baseline_score_percent", results(HEAD + "a,honest,lesion,0,0,67,\n"), ("from 0 to 1",)
    ),
    Bad("bad_baseline_no_fold", results(HEAD + "a,honest,lesion,,0,.5,\n"), ("nothing in fold",)),
    Bad("bad_baseline_seed_text", results(HEAD + "a,honest,lesion,0,x,.5,\n"), ("seed 'x'",)),
    Bad(
        "bad_baseline_column_twice",
        results(HEAD.replace("auc", "accuracy") + "a,b,c,0,0,1,1\n"),
        ("accuracy twice",),
    ),
    Bad("bad_baseline_ragged", results(HEAD + "a,honest,lesion,0,0,.5,.5,.5,.5\n"), ("no table",)),
    Bad("bad_run_metrics_list", run_of("[]"), ("metrics.json", "Delete the file")),
    Bad("bad_run_metrics_rows", run_of('{"rows": [3]}'), ("metrics.json",)),
    Bad(
        "bad_run_metrics_score",
        run_of('{"rows": [{"recipe": "a", "accuracy": "x"}]}'),
        ("metrics.json", "row 1"),
    ),
    Bad(
        "bad_run_of_the_sample",
        run_of('{"sample": true, "rows": []}', lambda run: keep_run(run, run / "kept", "mine")),
        ("embedded sample",),
    ),
    Bad("bad_run_history", records("loss\n1\n"), ("history.csv", "no column recipe")),
]
