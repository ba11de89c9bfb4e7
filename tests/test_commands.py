"The command line, from the outside: exit codes, messages, and what it must not import."
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("numpy", "pandas", "matplotlib", "sklearn", "tensorflow", "keras", "jax", "papermill",
         "tqdm", "PIL")


def call(*args, cwd=ROOT):
    "Run a command and capture what it says; wide enough that help lines don't break."
    return subprocess.run([str(a) for a in args], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, "COLUMNS": "200"})


# what is imported, and what is installed

IMPORTS = """
import sys
{statement}
print(sorted(set(sys.modules) & set({heavy})))
"""
HELP = """
from {module} import {command}
try:
    {command}(["--help"])
except SystemExit as end:
    assert end.code == 0
"""
STATEMENTS = {
    "package": "import skin_nb",
    "core": "import skin_nb.core",
    "run": HELP.format(module="skin_nb.commands", command="run_command"),
    "check": HELP.format(module="skin_nb.commands", command="check_command"),
    "evaluate": HELP.format(module="skin_nb.evaluate_command", command="evaluate_command"),
    "export": HELP.format(module="skin_nb.export_command", command="export_command"),
    "regress": HELP.format(module="skin_nb.regress_command", command="regress_command"),
    "runs": HELP.format(module="skin_nb.runs", command="runs_command"),
    "cache": HELP.format(module="skin_nb.cache_command", command="cache_command"),
    "predict": HELP.format(module="skin_nb.predict", command="predict_command"),
    "ensemble": HELP.format(module="skin_nb.ensemble_command", command="ensemble_command"),
    "new recipe": HELP.format(module="skin_nb.template", command="new_recipe_command")}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_help_imports_nothing_heavy(statement):
    r = call(sys.executable, "-c", IMPORTS.format(statement=statement, heavy=HEAVY))
    assert r.returncode == 0 and r.stdout.splitlines()[-1] == "[]", r.stdout + r.stderr


@pytest.mark.parametrize("command", ["skin_nb_run", "skin_nb_check", "skin_nb_evaluate",
                                     "skin_nb_regress", "skin_nb_runs", "skin_nb_cache",
                                     "skin_nb_predict", "skin_nb_ensemble",
                                     "skin_nb_new_recipe"])
def test_commands_are_installed(command):
    r = call(command, "--help")
    assert r.returncode == 0 and command in r.stdout


# skin_nb_run

DEFAULTS = 'data = ""\ntask = ""\nout = ""\nseed = 0'


def notebook(path, *sources, tag="parameters", defaults=DEFAULTS):
    "Write a notebook: a title, a tagged cell, further code cells."
    title = nbformat.v4.new_markdown_cell("# A notebook\n\n> For a test")
    parameters = nbformat.v4.new_code_cell(defaults, metadata={"tags": [tag]})
    code = [nbformat.v4.new_code_cell(s) for s in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=[title, parameters, *code]), path)


ROW = dict(recipe="tiny", network="None", task="ham10000", protocol="honest", split="lesion",
           fold=0, seed=0, balanced_accuracy=.5, lo=.4, hi=.6, accuracy=.7, macro_f1=.5,
           weighted_f1=.6, auc=.8, mel_sensitivity=.5, seconds=1., rss_mb=100, parameters=1000,
           weights="none", note="")
WRITE = f"""import json, pathlib
row = dict({ROW!r}, seed=seed)
if task == "melanoma":
    row["task"] = task
pathlib.Path(out, "metrics.json").write_text(json.dumps(dict(rows=[row])))"""
READ = """import pathlib
print(sorted(p.parent.name for p in pathlib.Path(runs).glob('*/metrics.json')))"""


@pytest.fixture
def checkout(tmp_path):
    "Four notebooks: one fails, one works, one is no experiment, one reads what the others wrote."
    nbs = tmp_path / "nbs"
    nbs.mkdir()
    notebook(nbs / "30_fails.ipynb", "raise ValueError('no such wonder')")
    notebook(nbs / "31_works.ipynb", WRITE, "import nbdev; nbdev.nbdev_export()")
    notebook(nbs / "22_library.ipynb", "raise SystemExit", tag="other")
    notebook(nbs / "90_results.ipynb", READ, defaults='runs = ""\nneeds = "all"')
    return tmp_path


def states(r):
    "What a run says of each notebook."
    lines = [line.split() for line in r.stdout.splitlines()]
    return {words[1].rstrip(":"): words[0] for words in lines
            if words and words[0] in ("done", "skipped", "FAILED")}


def test_a_failed_notebook_does_not_stop_the_others(checkout):
    r = call("skin_nb_run", "--out", "run", "--seed", 3, cwd=checkout)
    assert r.returncode == 1
    assert "ValueError: no such wonder" in r.stdout and "30_fails.ipynb" in r.stdout
    assert "1 of 3 notebooks FAILED: 30_fails" in r.stdout
    assert "tiny" in r.stdout and ".500 ± .100" in r.stdout  # the leaderboard
    assert "mean nothing medically" in r.stdout
    written = json.loads((checkout / "run/31_works/metrics.json").read_text())
    assert written["rows"][0]["seed"] == 3
    assert "31_works" in (checkout / "run/90_results/90_results.ipynb").read_text()
    assert sorted(p.name for p in (checkout / "nbs").iterdir()) == [
        "22_library.ipynb", "30_fails.ipynb", "31_works.ipynb", "90_results.ipynb"]


def test_a_run_goes_on_where_it_was(checkout):
    def go(*more):
        return call("skin_nb_run", "--out", "run", "--only", "31,90", *more, cwd=checkout)
    assert states(go()) == {"31_works": "done", "90_results": "done"}
    again = go()
    assert again.returncode == 0
    assert states(again) == {"31_works": "skipped", "90_results": "skipped"}
    other = go("--seed", 5)  # other parameters: another run
    assert states(other) == {"31_works": "done", "90_results": "done"}
    assert "seed 0 -> 5" in other.stdout


def test_jobs_and_new_folder(checkout):
    notebook(checkout / "nbs/30_fails.ipynb", "1")
    r = call("skin_nb_run", "--jobs", 2, cwd=checkout)
    assert r.returncode == 0, r.stdout + r.stderr
    run, = (checkout / "_runs").iterdir()
    assert run.name.endswith("-sample") and (run / "31_works/done.json").exists()


def test_notebooks_are_offered_the_task(checkout):
    r = call("skin_nb_run", "--out", "run", "--only", "31", "--task", "melanoma", cwd=checkout)
    assert r.returncode == 0, r.stdout + r.stderr
    assert json.loads((checkout / "run/31_works/parameters.json").read_text())["task"] == "melanoma"
    assert "melanoma" in r.stdout and ".800 ± .100" in r.stdout  # the interval is the AUC's


def test_baseline(checkout):
    import pandas as pd
    old = {k: v for k, v in ROW.items() if k != "task"}  # rows of before there were tasks
    pd.DataFrame([old]).to_csv(checkout / "same.csv")
    pd.DataFrame([dict(ROW, auc=.9)]).to_csv(checkout / "better.csv")
    pd.DataFrame([dict(ROW, task="melanoma", auc=.9)]).to_csv(checkout / "other.csv")

    def go(name):
        return call("skin_nb_run", "--out", "run", "--only", "31", "--baseline", name, cwd=checkout)
    same = go("same.csv")
    assert same.returncode == 0 and "4 scores compared" in same.stdout
    better = go("better.csv")
    assert better.returncode == 1 and "1 worse" in better.stdout
    other = go("other.csv")
    assert other.returncode == 0 and "0 scores compared" in other.stdout


BAD_ARGUMENTS = [
    (["--data", "nowhere"], "nowhere"),
    (["--only", "77"], "30, 31"),
    (["--folds", "a"], "--folds"),
    (["--out", "nbs/x"], "inside nbs/"),
    (["--baseline", "none.csv", "--only", "31"], "none.csv")]


@pytest.mark.parametrize("args, says", BAD_ARGUMENTS)
def test_bad_arguments(checkout, args, says):
    r = call("skin_nb_run", *args, cwd=checkout)
    assert r.returncode == 2 and r.stderr.startswith("error: "), r.stdout + r.stderr
    assert says in r.stderr and "Traceback" not in r.stderr


def test_a_question_that_the_data_can_not_answer(checkout):
    class_folder(checkout / "mine", {"crow": "nv", "owl": "mel"})
    r = call("skin_nb_run", "--data", "mine", "--task", "melanoma", cwd=checkout)
    assert r.returncode == 2 and "crow, owl" in r.stderr and "Traceback" not in r.stderr


def test_experiments_of_others(tmp_path, monkeypatch):
    """Whoever uses papermill tags a cell; an experiment of this house takes data, or says where it
    writes."""
    from skin_nb.batch import no_experiments, notebooks_folder, own_notebooks, parameter_defaults
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nbs").mkdir()
    notebook(tmp_path / "nbs/30_train.ipynb", "1", defaults="lr = .1")
    assert notebooks_folder() == own_notebooks()
    assert (
        "no parameter is called data or out or runs"
        in no_experiments(tmp_path / "nbs").popitem()[1]
    )
    mine = tmp_path / "nbs/31_mine.ipynb"
    notebook(mine, "1", defaults='data: str = "sample"\nout: str = ""\nleft: int')
    assert notebooks_folder() == tmp_path / "nbs"
    assert parameter_defaults(mine) == dict(data="sample", out="")


def test_list():
    r = call("skin_nb_run", "--list")
    assert r.returncode == 0 and r.stdout.splitlines()[-1].split()[:2] == ["90", "Results"]


# skin_nb_check

def class_folder(path, classes):
    "A folder a class, from resized pictures of the sample; `classes`: name -> the sample's."
    from PIL import Image
    from skin_nb.readers import read_any
    from skin_nb.sample import sample_folder
    table = read_any(sample_folder())
    for name, dx in classes.items():
        (path / name).mkdir(parents=True)
        for n, row in enumerate(table[table.dx == dx].head(6).itertuples()):
            Image.open(row.path).resize((100 + n, 90)).save(path / name / f"{name}{n}.jpg")


def test_check(tmp_path):
    from skin_nb.sample import write_ham10000
    folder = Path(write_ham10000(tmp_path / "ham", n=30))
    r = call("skin_nb_check", folder)
    assert r.returncode == 0, r.stdout + r.stderr
    assert "30 images of" in r.stdout and "0 problems" in r.stdout
    assert "task ham10000, 7 classes: akiec (" in r.stdout
    broken, empty = sorted(folder.rglob("*.jpg"))[:2]
    broken.write_bytes(broken.read_bytes()[:200])
    empty.write_bytes(b"")
    r = call("skin_nb_check", folder)
    assert r.returncode == 1, r.stdout + r.stderr
    assert broken.name in r.stdout and empty.name in r.stdout and "2 problems" in r.stdout
    assert call("skin_nb_check", tmp_path / "none").returncode in (1, 2)


def test_check_says_what_it_took_for_the_classes(tmp_path):
    class_folder(tmp_path / "mine", {"crow": "nv", "owl": "mel", "rook": "bkl"})
    r = call("skin_nb_check", tmp_path / "mine")
    assert "3 classes: crow (6), owl (6), rook (6)" in r.stdout, r.stdout + r.stderr


# skin_nb_new_recipe

def make_recipe(folder, name="small", backbone="MobileNetV2"):
    from skin_nb.template import new_recipe_command
    return new_recipe_command([name, "--backbone", backbone, "--folder", str(folder)])


def test_new_recipe_command(tmp_path):
    assert make_recipe(tmp_path, "vgg", "VGG99") == 2 and not list(tmp_path.iterdir())
    assert make_recipe(tmp_path) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["38a_small.ipynb"]
    before = (tmp_path / "38a_small.ipynb").read_bytes()
    assert make_recipe(tmp_path) == 2
    assert (tmp_path / "38a_small.ipynb").read_bytes() == before  # nothing is overwritten
    assert make_recipe(tmp_path, "smaller") == 0
    assert (tmp_path / "38b_smaller.ipynb").exists()


def test_a_new_recipe_can_be_exported(tmp_path):
    "nbdev makes a module of it, and the module a recipe."
    from importlib.util import module_from_spec, spec_from_file_location
    from nbdev.export import nb_export
    from skin_nb.recipe import honest_recipe
    make_recipe(tmp_path, "dense", "DenseNet121")
    nb_export(tmp_path / "38a_dense.ipynb", lib_path=tmp_path / "skin_nb")
    file = tmp_path / "skin_nb" / "recipes" / "dense.py"
    spec = spec_from_file_location("skin_nb.recipes.dense", file)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.HONEST == honest_recipe("dense", "DenseNet121")


@pytest.mark.slow
def test_a_new_recipe_runs(tmp_path):
    from skin_nb.batch import batch_environment, run_one
    make_recipe(tmp_path)
    outcome = run_one(tmp_path / "38a_small.ipynb", tmp_path / "run",
                      dict(data="sample", profile="sample"), batch_environment(tmp_path / "run"))
    assert outcome.state == "done", outcome.error
    rows = json.loads((tmp_path / "run/38a_small/metrics.json").read_text())["rows"]
    assert [row["recipe"] for row in rows] == ["small", "small"]
    assert [row["split"] for row in rows] == ["image", "lesion"]
