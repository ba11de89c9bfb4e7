"The command line, from the outside: exit codes, messages, and what it must not import."
import json, os, subprocess, sys
from pathlib import Path
import nbformat, pytest

ROOT = Path(__file__).resolve().parent.parent

def call(*args, cwd=ROOT): return subprocess.run([str(a) for a in args], cwd=cwd, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})

@pytest.mark.parametrize("module, command", [("skin_nb", None), ("skin_nb.core", None), ("skin_nb.batch", "run_command"), ("skin_nb.batch", "check_command"), ("skin_nb.batch", "evaluate_command")])
def test_help_imports_nothing_heavy(module, command):
    code = f"""
import sys, {module}
try: {f'{module}.{command}(["--help"])' if command else 'pass'}
except SystemExit as e: assert e.code == 0
print(sorted(set(sys.modules) & {{"numpy", "pandas", "matplotlib", "sklearn", "tensorflow", "keras", "jax", "papermill", "tqdm", "PIL"}}))"""
    r = call(sys.executable, "-c", code)
    assert r.returncode == 0 and r.stdout.splitlines()[-1] == "[]", r.stdout + r.stderr

@pytest.mark.parametrize("command", ["skin_nb_run", "skin_nb_check", "skin_nb_evaluate"])
def test_commands_are_installed(command):
    r = call(command, "--help")
    assert r.returncode == 0 and command in r.stdout

def notebook(path, *sources, tag="parameters", defaults='data = ""\nout = ""\nseed = 0'):
    cells = [nbformat.v4.new_markdown_cell("# A notebook\n\n> For a test"), nbformat.v4.new_code_cell(defaults, metadata={"tags": [tag]})]
    nbformat.write(nbformat.v4.new_notebook(cells=cells + [nbformat.v4.new_code_cell(s) for s in sources]), path)

ROW = dict(recipe="tiny", network="None", protocol="honest", split="lesion", fold=0, seed=0, balanced_accuracy=.5, lo=.4, hi=.6, accuracy=.7, macro_f1=.5,
           weighted_f1=.6, auc=.8, mel_sensitivity=.5, seconds=1., rss_mb=100, parameters=1000, weights="none", note="")
WRITE = f"import json, pathlib\npathlib.Path(out, 'metrics.json').write_text(json.dumps({{'rows': [{ROW!r} | dict(seed=seed)]}}))"

@pytest.fixture
def checkout(tmp_path):
    "A folder with four notebooks: one fails, one works, one isn't an experiment, one reads what the others wrote."
    (tmp_path / "nbs").mkdir()
    notebook(tmp_path / "nbs/30_fails.ipynb", "raise ValueError('no such wonder')")
    notebook(tmp_path / "nbs/31_works.ipynb", WRITE, "import nbdev; nbdev.nbdev_export()")
    notebook(tmp_path / "nbs/22_library.ipynb", "raise SystemExit", tag="other")
    notebook(tmp_path / "nbs/90_results.ipynb", "import pathlib\nprint(sorted(p.parent.name for p in pathlib.Path(runs).glob('*/metrics.json')))", defaults='runs = ""')
    return tmp_path

def test_a_failed_notebook_does_not_stop_the_others(checkout):
    r = call("skin_nb_run", "--out", "run", "--seed", 3, cwd=checkout)
    assert r.returncode == 1
    assert "ValueError: no such wonder" in r.stdout and "1 of 3 notebooks FAILED: 30_fails" in r.stdout and "30_fails.ipynb" in r.stdout
    assert "tiny" in r.stdout and ".500 ± .100" in r.stdout and "mean nothing medically" in r.stdout  # the leaderboard, and whose numbers these are
    assert json.loads((checkout / "run/31_works/metrics.json").read_text())["rows"][0]["seed"] == 3
    assert "31_works" in (checkout / "run/90_results/90_results.ipynb").read_text()
    assert sorted(p.name for p in (checkout / "nbs").iterdir()) == ["22_library.ipynb", "30_fails.ipynb", "31_works.ipynb", "90_results.ipynb"]

def test_a_run_goes_on_where_it_was(checkout):
    go = lambda *more: call("skin_nb_run", "--out", "run", "--only", "31,90", *more, cwd=checkout)
    states = lambda r: {l.split()[1].rstrip(":"): l.split()[0] for l in r.stdout.splitlines() if l.startswith(("done", "skipped", "FAILED"))}
    assert states(go()) == {"31_works": "done", "90_results": "done"}
    again = go()
    assert again.returncode == 0 and states(again) == {"31_works": "skipped", "90_results": "done"}
    assert states(go("--seed", 5))["31_works"] == "done"  # other parameters: another run
    notebook(checkout / "nbs/31_works.ipynb", WRITE, "1 + 1")
    assert states(go("--seed", 5))["31_works"] == "done"  # other source: another run

def test_jobs_and_new_folder(checkout):
    notebook(checkout / "nbs/30_fails.ipynb", "1")
    r = call("skin_nb_run", "--jobs", 2, cwd=checkout)
    assert r.returncode == 0, r.stdout + r.stderr
    run, = (checkout / "_runs").iterdir()
    assert run.name.endswith("-sample") and (run / "31_works/done.json").exists()

def test_baseline(checkout):
    import pandas as pd
    pd.DataFrame([ROW]).to_csv(checkout / "same.csv"), pd.DataFrame([ROW | dict(auc=.9)]).to_csv(checkout / "better.csv")
    go = lambda name: call("skin_nb_run", "--out", "run", "--only", "31", "--baseline", name, cwd=checkout)
    assert go("same.csv").returncode == 0
    r = go("better.csv")
    assert r.returncode == 1 and "1 fell" in r.stdout

@pytest.mark.parametrize("args, says", [
    (["--data", "nowhere"], "nowhere"), (["--only", "77"], "30, 31"), (["--folds", "a"], "--folds"), (["--out", "nbs/x"], "inside nbs/"), (["--baseline", "none.csv", "--only", "31"], "none.csv")])
def test_bad_arguments(checkout, args, says):
    r = call("skin_nb_run", *args, cwd=checkout)
    assert r.returncode == 2 and r.stderr.startswith("error: ") and says in r.stderr and "Traceback" not in r.stderr, r.stdout + r.stderr

def test_list():
    r = call("skin_nb_run", "--list")
    assert r.returncode == 0 and r.stdout.splitlines()[-1].split() == ["90", "Results"]

def test_check(tmp_path):
    from skin_nb.sample import write_ham10000
    folder = Path(write_ham10000(tmp_path / "ham", n=30))
    r = call("skin_nb_check", folder)
    assert r.returncode == 0 and "30 images of" in r.stdout and "0 problems" in r.stdout, r.stdout + r.stderr
    broken, empty = sorted(folder.rglob("*.jpg"))[:2]
    broken.write_bytes(broken.read_bytes()[:200]); empty.write_bytes(b"")
    r = call("skin_nb_check", folder)
    assert r.returncode == 1 and "30" in r.stdout and broken.name in r.stdout and empty.name in r.stdout and "2 problems" in r.stdout, r.stdout + r.stderr
    assert call("skin_nb_check", tmp_path / "none").returncode in (1, 2)

def test_evaluate_any_folder_and_size(tmp_path):
    "A model trained on the sample's layout scores pictures of another size in class folders."
    from PIL import Image
    from skin_nb.pictures import decode_images
    from skin_nb.preparation import split_by_lesion
    from skin_nb.sample import sample_folder
    from skin_nb.recipe import Recipe, Stage
    from skin_nb.training import fit_recipe, save_model
    from skin_nb.readers import read_any
    table = split_by_lesion(read_any(sample_folder()))
    recipe = Recipe("tiny", "CustomCNN", 32, (Stage(1, 1e-3, unfreeze="all"),), scratch=True, pool="flatten", dense=(8,))
    model = save_model(fit_recipe(recipe, table, decode_images(table, 32, folder=tmp_path), tmp_path / "fit", folder=tmp_path, verbose=0), tmp_path / "run/model.keras")
    for n, r in enumerate(table.groupby("dx").head(6).itertuples()):
        (tmp_path / "mine" / r.dx).mkdir(parents=True, exist_ok=True)
        Image.open(r.path).resize((100 + n, 90)).save(tmp_path / "mine" / r.dx / f"picture{n}.jpg")
    r = call("skin_nb_evaluate", "--model", model, "--data", tmp_path / "mine")
    assert r.returncode == 0 and "balanced_accuracy" in r.stdout and "42 images" in r.stdout, r.stdout + r.stderr
    written = tmp_path / "run/evaluation"
    assert json.loads((written / "metrics.json").read_text())["metrics"]["n"] == 42
    assert len((written / "predictions.csv").read_text().splitlines()) == 43 and (written / "figures/confusion.png").exists()

def test_evaluate_needs_a_model():
    r = call("skin_nb_evaluate", "--model", "none.keras", "--data", "sample")
    assert r.returncode == 2 and "none.keras" in r.stderr
