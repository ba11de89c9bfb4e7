"Bad arguments of the commands that run, check and begin notebooks: answered at once."
import json
import os
from unittest.mock import patch
from corpus import Bad, by_command
from PIL import Image
from skin_nb.cache_command import cache_command
from skin_nb.commands import check_command, run_command
from skin_nb.demo import demo_command
from skin_nb.regress_command import regress_command
from skin_nb.template import new_recipe_command


def run(*arguments):
    "A case of skin_nb_run; {} in an argument is the case's folder."
    return lambda folder: by_command(run_command, *[a.format(folder) for a in arguments])


def check(*arguments):
    return lambda folder: by_command(check_command, *[a.format(folder) for a in arguments])


def recipe(*arguments):
    return lambda folder: by_command(new_recipe_command, *[a.format(folder) for a in arguments])


def demo(*arguments):
    return lambda folder: by_command(demo_command, *[a.format(folder) for a in arguments])


def beside(write, make):
    "A case with something in its folder before the command is called."
    def prepare(folder):
        write(folder)
        return make(folder)
    return prepare


def class_folders(folder, names=("mel", "nv"), pictures=5):
    "Data: a folder a class, a few tiny pictures in each."
    for n, name in enumerate(names):
        for k in range(pictures):
            path = folder / "data" / name / f"{name}{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (40 * n, 60 * k, 90)).save(path)


def two_a_class(folder):
    class_folders(folder, pictures=2)


def birds(folder):
    class_folders(folder, ("crow", "owl"))


def text(name, content=""):
    def write(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return write


def pipe(folder):
    os.mkfifo(folder / "pipe")


def link_to_nothing(folder):
    (folder / "lost").symlink_to(folder / "nowhere")


def loop(folder):
    (folder / "loop").symlink_to(folder / "loop")


def weights(name, content=b"\x89HDF\r\n\x1a\n"):
    def write(folder):
        (folder / "weights").mkdir()
        (folder / "weights" / name).write_bytes(content)
    return write


def unfinished_baseline(folder):
    text("rows.csv", "recipe,protocol,split,fold,seed,accuracy\ntiny,honest,lesion,0,,.5\n")(folder)


def other_table(folder):
    text("rows.csv", "image_id,dx\nISIC_1,nv\n")(folder)


def someone_elses(folder):
    text("work/thesis.docx", "years of work")(folder)


def a_home(folder):
    text("home/.bashrc", "alias ll='ls -l'")(folder)
    text("home/.ipython/profile_default/ipython_kernel_config.py", "mine = True")(folder)


def other_experiments(folder):
    text("work/experiment1/metrics.json", "[0.3]")(folder)


def leftovers(*names, **done):
    "A run folder in which notebooks have left the same row, and a record of what they saw."
    row = dict(recipe="tiny", protocol="honest", split="lesion", fold=0, seed=0, accuracy=.5)

    def write(folder):
        for name in names:
            text(f"run/{name}/parameters.json", "{}")(folder)
            text(f"run/{name}/metrics.json", json.dumps(dict(rows=[row])))(folder)
            text(f"run/{name}/done.json", json.dumps(done))(folder)
    return write


def without_backend(name):
    "A run with a library for Keras that isn't there."
    def make(folder):
        call = run("--only", "30", "--out", "{}/run")(folder)

        def there():
            with patch.dict(os.environ, KERAS_BACKEND=name):
                return call()
        return there
    return make


def twice(folder):
    row = "tiny,honest,lesion,0,0,.{}\n"
    for name, score in (("rows.csv", 5), ("rows (1).csv", 9)):
        text(f"kept/{name}", "recipe,protocol,split,fold,seed,accuracy\n" + row.format(score))(
            folder
        )


def mapped(folder):
    class_folders(folder)
    rows = [f"{name}{k}.png,{name}" for name in ("mel", "nv") for k in range(2)]
    text("data/table.csv", "\n".join(["picture,finding", *rows]))(folder)
    text("data/columns.json", json.dumps(dict(columns={})))(folder)


NUMBERS = [
    Bad("bad argument: no jobs", run("--jobs", "0"), ("--jobs", "1 or more")),
    Bad("bad argument: less than no jobs", run("--jobs", "-3"), ("--jobs", "1 or more")),
    Bad("bad argument: jobs in words", run("--jobs", "two"), ("--jobs", "two")),
    Bad("bad argument: a fold that isn't there", run("--folds", "7"), ("--folds", "from 0 to 4")),
    Bad("bad argument: a fold below nothing", run("--folds=-1"), ("--folds", "from 0 to 4")),
    Bad("bad argument: a fold twice", run("--folds", "0,0"), ("--folds", "twice")),
    Bad("bad argument: an empty fold", run("--folds", "0,,1"), ("--folds", "'0,,1'")),
    Bad("bad argument: folds as a range", run("--folds", "0-4"), ("--folds", "'0-4'")),
    Bad("bad argument: only a comma for folds", run("--folds", ","), ("--folds",)),
    Bad("bad argument: a seed below nothing", run("--seed", "-1"), ("--seed", "4294967295")),
    Bad("bad argument: a seed that is too large", run("--seed", "4294967296"), ("--seed",)),
    Bad("bad argument: half a seed", run("--seed", "1.5"), ("--seed", "1.5")),
    Bad("bad argument: an unknown profile", run("--profile", "fast"), ("--profile", "gpu")),
    Bad("bad argument: an unknown question", run("--task", "nevus"), ("--task", "melanoma")),
    Bad("bad argument: an unknown option", run("--fold", "0", "--wieghts", "x"), ("--wieghts",))]

NOTEBOOKS = [
    Bad("bad argument: an unknown notebook", run("--only", "30,77"), ("--only", "77", "--list")),
    Bad("bad argument: a notebook of the library", run("--only", "22"), ("--only", "22")),
    Bad("bad argument: a final network of none that has one", run("--only", "30", "--final"),
        ("--final", "38d")),
    Bad("bad argument: only a comma for notebooks", run("--only", ","), ("--only", "empty")),
    Bad("bad argument: a comma too many", run("--list", "--only", "30,"), ("--only", "empty"))]

DATA = [
    Bad("bad argument: no such data", run("--data", "{}/none"), ("{folder}/none",)),
    Bad("bad argument: empty data", run("--data", ""), ("--data", "variable")),
    Bad("bad argument: data in a file", beside(text("table.csv"), run("--data", "{}/table.csv")),
        ("table.csv",)),
    Bad("bad argument: data in a pipe", beside(pipe, run("--data", "{}/pipe")), ("pipe",)),
    Bad("bad argument: data behind a link to nothing",
        beside(link_to_nothing, run("--data", "{}/lost")), ("nowhere",)),
    Bad("bad argument: data behind a link to itself",
        beside(loop, run("--data", "{}/loop")), ("loop",)),
    Bad("bad argument: empty folder of data", run("--data", "{}"), ("{folder}",)),
    Bad("bad argument: melanoma among birds",
        beside(birds, run("--data", "{}/data", "--task", "melanoma", "--out", "{}/run")),
        ("crow", "owl")),
    Bad("bad argument: an unknown layout",
        beside(class_folders, run("--data", "{}/data", "--layout", "isic2030", "--out", "{}/r")),
        ("--layout", "isic2030", "folders")),
    Bad("bad argument: a layout that the data haven't",
        beside(class_folders, run("--data", "{}/data", "--layout", "ham10000", "--out", "{}/r")),
        ("{folder}/data",)),
    Bad("bad argument: a part of data without parts",
        beside(class_folders, run("--data", "{}/data", "--part", "training", "--out", "{}/r")),
        ("--part", "training")),
    Bad("bad argument: classes too small for five folds",
        beside(two_a_class, run("--data", "{}/data", "--only", "30", "--out", "{}/r")),
        ("2 lesions of class nv", "at least 5", "Add pictures")),
    Bad("bad argument: a layout for the sample", run("--layout", "folders"),
        ("--layout", "sample")),
    Bad("bad argument: a part of the sample", run("--part", "training"), ("--part", "sample"))]

PLACES = [
    Bad("bad argument: output into a file", beside(text("notes.txt", "mine"),
                                                   run("--out", "{}/notes.txt")),
        ("{folder}/notes.txt", "--out")),
    Bad("bad argument: output below a file", beside(text("notes.txt", "mine"),
                                                    run("--out", "{}/notes.txt/run")),
        ("{folder}/notes.txt", "--out")),
    Bad("bad argument: output into a link to nothing",
        beside(text("a"), beside(loop, run("--out", "{}/loop"))), ("loop",)),
    Bad("bad argument: output among the data",
        beside(class_folders, run("--data", "{}/data", "--out", "{}/data/run")),
        ("inside the data folder", "--out")),
    Bad("bad argument: output is the data",
        beside(class_folders, run("--data", "{}/data", "--out", "{}/data")),
        ("inside the data folder",)),
    Bad("bad argument: output among other files", beside(someone_elses, run("--out", "{}/work")),
        ("thesis.docx", "--out")),
    Bad("bad argument: output with a name too long", run("--out", "{}/" + "x" * 256), ("shorter",)),
    Bad("bad argument: output with a path too long", run("--out", "{}/" + "x/" * 2000),
        ("shorter",)),
    Bad("bad argument: empty output", run("--out", ""), ("--out", "variable")),
    Bad("bad argument: output into a home", beside(a_home, run("--out", "{}/home")),
        ("{folder}/home", "2 other files", "--out")),
    Bad("bad argument: output among another program's experiments",
        beside(other_experiments, run("--out", "{}/work")), ("experiment1", "--out")),
    Bad("bad argument: output with bytes that are no text", run("--out", "{}/m\udcf6le"),
        ("--out", "UTF-8")),
    Bad("bad argument: output beside results on other data",
        beside(leftovers("31_other", data="of last week"), run("--only", "30", "--out", "{}/run")),
        ("{folder}/run", "31_other", "--out", "add 31")),
    Bad("bad argument: output beside a copy of a notebook's folder",
        beside(leftovers("31_other", "31_other (copy)"), run("--only", "30", "--out", "{}/run")),
        ("31_other (copy)", "Move"))]

LIBRARIES = [
    Bad("bad argument: an unknown library for Keras", without_backend("theano"), ("theano", "jax")),
    Bad("bad argument: a library for Keras that isn't installed", without_backend("torch"),
        ("no torch installed", "jax"))]

WEIGHTS = [
    Bad("bad argument: no such weights", run("--weights", "{}/none"),
        ("{folder}/none", "--weights")),
    Bad("bad argument: weights in a pipe", beside(pipe, run("--weights", "{}/pipe")), ("pipe",)),
    Bad("bad argument: weights under Keras's own name",
        beside(weights("resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5"),
               run("--only", "33", "--weights", "{}/weights")),
        ("resnet50v2_notop.weights.h5", "{folder}/weights")),
    Bad("bad argument: weights of one network for two",
        beside(weights("resnet50v2_notop.weights.h5"),
               run("--only", "33,35", "--weights", "{}/weights")),
        ("efficientnetv2s_notop.weights.h5",)),
    Bad("bad argument: a weights file of another network",
        beside(weights("mobilenetv2_notop.weights.h5"),
               run("--only", "33", "--weights", "{}/weights/mobilenetv2_notop.weights.h5")),
        ("mobilenetv2_notop.weights.h5", "Rename")),
    Bad("bad argument: a web page instead of weights",
        beside(weights("resnet50v2_notop.weights.h5", b"<html>log in"),
               run("--only", "33", "--weights", "{}/weights")),
        ("resnet50v2_notop.weights.h5", "Download"))]

BASELINES = [
    Bad("bad argument: no such baseline", run("--baseline", "{}/none.csv"), ("{folder}/none.csv",)),
    Bad("bad argument: an empty baseline", beside(text("rows.csv"),
                                                  run("--baseline", "{}/rows.csv")),
        ("{folder}/rows.csv",)),
    Bad("bad argument: a folder without results", run("--baseline", "{}"), ("{folder}",)),
    Bad("bad argument: a baseline in a pipe", beside(pipe, run("--baseline", "{}/pipe")),
        ("pipe",)),
    Bad("bad argument: a baseline of another kind", beside(other_table,
                                                           run("--baseline", "{}/rows.csv")),
        ("rows.csv",)),
    Bad("bad argument: a baseline with an open quote",
        beside(text("rows.csv", 'recipe,fold\n"tiny,0\n'), run("--baseline", "{}/rows.csv")),
        ("rows.csv",)),
    Bad("bad argument: a baseline with letters for a score",
        beside(text("rows.csv", "recipe,protocol,split,fold,seed,accuracy\n"
                                "tiny,honest,lesion,0,0,good\n"),
               run("--baseline", "{}/rows.csv")), ("rows.csv", "good")),
    Bad("bad argument: a baseline with two rows of one training",
        beside(twice, run("--baseline", "{}/kept")), ("{folder}/kept", "second row of tiny")),
    Bad("bad argument: a baseline with semicolons",
        beside(text("rows.csv", "recipe;protocol;split;fold;seed;accuracy\na;b;c;0;0;0,5\n"),
               run("--baseline", "{}/rows.csv")), ("rows.csv", "commas")),
    Bad("bad argument: a baseline without its seed", beside(unfinished_baseline,
                                                            run("--baseline", "{}/rows.csv")),
        ("rows.csv", "seed"))]

CHECKS = [
    Bad("bad argument: nothing to check", check("{}/none"), ("{folder}/none",)),
    Bad("bad argument: check of an empty name", check(""), ("variable",)),
    Bad("bad argument: check of nothing at all", check(), ("DIR",)),
    Bad("bad argument: check of an unknown layout",
        beside(class_folders, check("{}/data", "--layout", "isic2030")), ("--layout", "isic2030")),
    Bad("bad argument: a suggestion for the sample", check("sample", "--suggest"), ("--suggest",)),
    Bad("bad argument: a suggestion where one is", beside(mapped, check("{}/data", "--suggest")),
        ("columns.json",))]

RECIPES = [
    Bad("bad argument: an unknown network",
        recipe("dense", "--backbone", "DenseNet12", "--folder", "{}"),
        ("--backbone", "mean DenseNet121")),
    Bad("bad argument: no network", recipe("dense"), ("--backbone",)),
    Bad("bad argument: a recipe with a blank",
        recipe("my recipe", "--backbone", "DenseNet121", "--folder", "{}"),
        ("my recipe", "small letters")),
    Bad("bad argument: a recipe with a path",
        recipe("../dense", "--backbone", "DenseNet121", "--folder", "{}"), ("../dense",)),
    Bad("bad argument: a recipe named like a word of Python",
        recipe("class", "--backbone", "DenseNet121", "--folder", "{}"), ("class",)),
    Bad("bad argument: a recipe into no folder",
        recipe("dense", "--backbone", "DenseNet121", "--folder", "{}/none"), ("{folder}/none",)),
    Bad("bad argument: a recipe into a file",
        beside(text("notes.txt"),
               recipe("dense", "--backbone", "DenseNet121", "--folder", "{}/notes.txt")),
        ("{folder}/notes.txt", "a file")),
    Bad("bad argument: a recipe that is there",
        beside(text("38c_dense.ipynb", "{}"),
               recipe("dense", "--backbone", "DenseNet121", "--folder", "{}")),
        ("38c_dense.ipynb", "another name"))]

DEMOS = [
    Bad("bad argument: a demo without a model", demo(), ("--model",)),
    Bad("bad argument: a demo on no port", demo("--model", "{}/m", "--port", "70000"),
        ("--port", "65535")),
    Bad("bad argument: a demo on a port that is none", demo("--model", "{}/m", "--port", "http"),
        ("--port", "http")),
    Bad("bad argument: a demo elsewhere", demo("--model", "{}/m", "--host", "198.51.100.7"),
        ("198.51.100.7", "an address of this machine", "Correct --host")),
    Bad("bad argument: a demo nowhere", demo("--model", "{}/m", "--host", "no host"),
        ("no host", "Correct --host"))]


def update(path, *arguments):
    "A case of skin_nb_regress --update; {} in an argument is the case's folder."
    return lambda folder: by_command(regress_command, str(folder / "run"), "--update", "--baseline",
                                     path.format(folder), *arguments)


def cache(*arguments):
    return lambda folder: by_command(cache_command, *arguments)


OTHERS = [
    Bad("bad argument: a parameter twice",
        run("--only", "33", "-p", "size", "64", "-p", "size", "32"), ("size a second time",)),
    Bad("bad argument: a baseline in place of a text",
        beside(text("new.json", "notes"), update("{}/new.json")), ("new.json", "no baseline")),
    Bad("bad argument: a baseline that nobody could read", update("{}/new.csv"), (".json",)),
    Bad("bad argument: a baseline of no fold", update("{}/new.json", "--folds", "9"), ("--folds",)),
    Bad("bad argument: a baseline of no notebook", update("{}/new.json", "--only", "999"),
        ("--only",)),
    Bad("bad argument: all of the cache and a part of it", cache("--all", "--older-than", "30"),
        ("--older-than", "Leave --all out"))]

ARGUMENTS = [*NUMBERS, *NOTEBOOKS, *DATA, *PLACES, *LIBRARIES, *WEIGHTS, *BASELINES, *CHECKS,
             *RECIPES, *DEMOS, *OTHERS]
