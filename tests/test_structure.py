"What holds for all notebooks together: nbdev's rules, papermill's rules, and the house's."
import ast, filecmp, json, re, shutil, subprocess
from pathlib import Path
import pytest
from readme import make_readme

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"))
number = lambda p: int(re.match(r"\d+", p.stem)[0]) if p.stem[0].isdigit() else -1
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)

def cells(path, kind=None): return [c for c in json.loads(path.read_text())["cells"] if kind in (None, c["cell_type"])]
def source(cell): return "".join(cell["source"])

@pytest.fixture
def copy(tmp_path):
    "A copy of what nbdev reads and writes."
    for name in "nbs", "skin_nb": shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in "settings.ini", "setup.py", "README.md": shutil.copy(ROOT / name, tmp_path)
    return tmp_path

def differences(a, b, pattern):
    names = {p.relative_to(f) for f in (a, b) for p in f.rglob(pattern) if "__pycache__" not in p.parts and ".ipynb_checkpoints" not in p.parts}
    return sorted(str(n) for n in names if not ((a / n).exists() and (b / n).exists() and filecmp.cmp(a / n, b / n, shallow=False)))

def test_export_leaves_no_diff(copy):
    subprocess.run(["nbdev_export"], cwd=copy, check=True, capture_output=True)
    assert differences(ROOT / "skin_nb", copy / "skin_nb", "*.py") == []

def test_clean_leaves_no_diff(copy):
    subprocess.run(["nbdev_clean"], cwd=copy, check=True, capture_output=True)
    assert differences(ROOT / "nbs", copy / "nbs", "*.ipynb") == []

def test_readme_comes_from_index():
    assert (ROOT / "README.md").read_text() == make_readme(), "run: make readme"

def test_index_lists_every_notebook_as_it_is():
    text = (ROOT / "README.md").read_text()
    opening = {p.name: source(cells(p)[0]).splitlines() for p in NOTEBOOKS if number(p) >= 0}
    assert [n for n, (title, _, summary, *_) in opening.items() if f"(nbs/{n}) | **{title[2:]}** | {summary[2:]} |" not in text] == [], "run nbs/index.ipynb, then: make readme"

@each_notebook
def test_opens_with_title_and_summary(path):
    assert re.match(r"# .+\n\n> .+", source(cells(path)[0]))

@each_notebook
def test_parameters_cell(path):
    "Papermill injects into the one tagged cell; without it the defaults win silently, with two only the first counts."
    tags = [t for c in cells(path) for t in c["metadata"].get("tags", [])]
    assert "injected-parameters" not in tags
    assert tags.count("parameters") == (number(path) >= 30)

@each_notebook
def test_outputs(path):
    "Nothing stored is an error, and nothing is large."
    outputs = [o for c in cells(path, "code") for o in c["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error"]
    assert path.stat().st_size < 500_000

@pytest.mark.parametrize("path", sorted((ROOT / "skin_nb").rglob("*.py")), ids=lambda p: p.stem)
def test_functions_are_short(path):
    functions = [f for f in ast.walk(ast.parse(path.read_text())) if isinstance(f, ast.FunctionDef)]
    assert [f.name for f in functions if f.end_lineno - f.lineno >= 40] == []

@pytest.mark.parametrize("path", [*NOTEBOOKS, ROOT / "README.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(path):
    text = path.read_text() if path.suffix == ".md" else "\n".join(source(c) for c in cells(path, "markdown"))
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S))
    assert [t for t in targets if not re.match(r"https?:|mailto:", t) and not (path.parent / t).exists()] == []
