"What holds for all notebooks together: nbdev's rules, papermill's rules, and the house's."
import ast
import filecmp
import io
import json
import re
import shutil
import subprocess
import tokenize
from collections import Counter
from pathlib import Path
import pytest
from density import measure
from readme import PICTURE, make_readme

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)

def number(path):
    "A notebook's number; that of the index is -1."
    if path.stem[0].isdigit():
        return int(re.match(r"\d+", path.stem)[0])
    return -1

def cells(path, kind=None):
    return [c for c in json.loads(path.read_text())["cells"] if kind in (None, c["cell_type"])]
def source(cell):
    return "".join(cell["source"])

@pytest.fixture
def copy(tmp_path):
    "A copy of what nbdev reads and writes."
    for name in "nbs", "skin_nb":
        shutil.copytree(
            ROOT / name,
            tmp_path / name,
            ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
        )
    for name in "settings.ini", "setup.py", "README.md":
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path

def differences(a, b, pattern):
    names = {
        p.relative_to(f)
        for f in (a, b)
        for p in f.rglob(pattern)
        if "__pycache__" not in p.parts and ".ipynb_checkpoints" not in p.parts
    }
    return sorted(
        str(n)
        for n in names
        if not ((a / n).exists() and (b / n).exists() and filecmp.cmp(a / n, b / n, shallow=False))
    )

def test_export_leaves_no_diff(copy):
    subprocess.run(["nbdev_export"], cwd=copy, check=True, capture_output=True)
    assert differences(ROOT / "skin_nb", copy / "skin_nb", "*.py") == []

def test_clean_leaves_no_diff(copy):
    subprocess.run(["nbdev_clean"], cwd=copy, check=True, capture_output=True)
    assert differences(ROOT / "nbs", copy / "nbs", "*.ipynb") == []

def test_readme_comes_from_index():
    text, picture = make_readme()
    assert (ROOT / "README.md").read_text() == text, "run: make readme"
    assert (ROOT / "nbs" / PICTURE).read_bytes() == picture, "run: make readme"
    assert f"](nbs/{PICTURE})" in text

def test_index_lists_every_notebook_as_it_is():
    text = (ROOT / "README.md").read_text()
    opening = {p.name: source(cells(p)[0]).splitlines() for p in NOTEBOOKS if number(p) >= 0}
    assert [
        n
        for n, (title, _, summary, *_) in opening.items()
        if f"(nbs/{n}) | **{title[2:]}** | {summary[2:]} |" not in text
    ] == [], "run nbs/index.ipynb, then: make readme"

@each_notebook
def test_opens_with_title_and_summary(path):
    assert re.match(r"# .+\n\n> .+", source(cells(path)[0]))

@each_notebook
def test_parameters_cell(path):
    """Papermill injects into the one tagged cell; without it the defaults win silently, with two
    only the first counts."""
    tags = [t for c in cells(path) for t in c["metadata"].get("tags", [])]
    assert "injected-parameters" not in tags
    assert tags.count("parameters") == (number(path) >= 30)

@each_notebook
def test_outputs(path):
    "Nothing stored is an error, and nothing is large."
    outputs = [o for c in cells(path, "code") for o in c["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error"]
    assert path.stat().st_size < 500_000

EXPORTING = [p for p in NOTEBOOKS if measure([p]).get("lines", 0) > 20]  # fewer have no percentiles

@pytest.mark.parametrize("path", EXPORTING, ids=lambda p: p.stem)
def test_code_can_be_read(path):
    """Nothing is wider than a page, no function longer than one, no line fuller than those of
    well-kept code bases (17 to 24 tokens)."""
    m = measure([path])
    assert m["wide"] == 0 and m["semicolons"] == 0 and m["longest"] <= 40
    assert m["tokens"] <= 24 and m["body"] <= 350  # figures take the longest bodies

@each_notebook
def test_code_fits_the_page(path):
    "Also in cells that export nothing: what is longer than 100 characters is cut off on the site."
    lines = [
        l for c in cells(path, "code") for l in source(c).splitlines() if not l.startswith("#|")
    ]
    assert [l for l in lines if len(l) > 100] == []

@pytest.mark.parametrize("path", [ROOT / "setup.py", *sorted((ROOT / "tests").glob("*.py"))],
                         ids=lambda p: p.name)
def test_programs_can_be_read(path):
    "One statement a line, and no line longer than those of the notebooks."
    lines = path.read_text().splitlines()
    assert [line for line in lines if len(line) > 100] == []
    starts = [n.lineno for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.stmt)]
    assert [n for n, times in Counter(starts).items() if times > 1] == []

def test_code_can_be_read_as_a_whole():
    "The limits are those of a project read whole; what each notebook has may differ."
    m = measure(EXPORTING)
    assert m["tokens"] <= 22 and m["body"] <= 211 and m["parallel"] <= 13 and m["lambdas"] <= 5

def module_of(path):
    "The module that a notebook exports; empty if none."
    found = [re.search(r"^#\| *default_exp (\S+)", source(c), re.M) for c in cells(path, "code")]
    return next((m[1] for m in found if m), "")

def imported_modules(path):
    "The modules of the package that a notebook's exported code imports, wherever it does."
    exported = [source(c) for c in cells(path, "code") if re.match(r"#\| *exports?\b", source(c))]
    return {m for s in exported for m in re.findall(r"from skin_nb\.(\S+) import", s)}

def test_reading_order_is_import_order():
    "No chapter imports a later one, not even inside a function."
    place = {module_of(p): n for n, p in enumerate(NOTEBOOKS) if module_of(p)}
    climbs = [
        (p.stem, m) for n, p in enumerate(NOTEBOOKS) for m in imported_modules(p) if place[m] >= n
    ]
    assert climbs == []

def unused_imports(path):
    "Names that a module imports and nothing in it uses."
    nodes = list(ast.walk(ast.parse(path.read_text())))
    aliases = [a for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names]
    imported = {(a.asname or a.name).split(".")[0] for a in aliases}
    return sorted(imported - {n.id for n in nodes if isinstance(n, ast.Name)})

def test_exported_code_uses_what_it_imports():
    "What only the tests of a chapter need is imported in its hidden cell."
    found = {p.stem: unused_imports(p) for p in (ROOT / "skin_nb").rglob("*.py")}
    assert {p: names for p, names in found.items() if names} == {}

def test_no_name_means_two_things():
    "Every public name of the package, outside the recipes, is exported once."
    modules = sorted(p for p in (ROOT / "skin_nb").rglob("[a-z]*.py") if p.parent.name != "recipes")
    public = [(n, p.stem) for p in modules for n in exported_names(p)]
    names = [n for n, _ in public]
    assert sorted(p for p in public if names.count(p[0]) > 1) == []

def exported_names(path):
    tree = ast.parse(path.read_text())
    lists = [
        n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "__all__"
    ]
    return [e.value for found in lists for e in found.elts]

@each_notebook
def test_first_cell_is_what_the_site_keeps(path):
    "Of the first cell nbdev keeps title and summary alone."
    assert re.fullmatch(r"# .+\n\n> .+\n?", source(cells(path)[0]))

@pytest.mark.parametrize("path", [*NOTEBOOKS, ROOT / "README.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(path):
    text = (
        path.read_text()
        if path.suffix == ".md"
        else "\n".join(source(c) for c in cells(path, "markdown"))
    )
    targets = re.findall(
        r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
    )
    assert [
        t for t in targets if not re.match(r"https?:|mailto:", t) and not (path.parent / t).exists()
    ] == []

EXPORTS = [
    (p, source(c))
    for p in NOTEBOOKS
    for c in cells(p, "code")
    if re.match(r"#\| *exports?\b", source(c))
]

def test_comments_have_no_code_quotes():
    "nbdev makes links of them where it shows a signature, and a link inside a comment stays raw."
    found = [
        (p.stem, t.string)
        for p, text in EXPORTS
        for t in tokenize.generate_tokens(io.StringIO(text).readline)
        if t.type == tokenize.COMMENT and "`" in t.string
    ]
    assert found == []
