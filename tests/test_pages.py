"What a reader of the site gets: all that was written, and nothing to stumble over."
import ast
import atexit
import contextlib
import functools
import io
import json
import re
import sys
from pathlib import Path
import pytest
import yaml

NBS = Path(__file__).resolve().parent.parent / "nbs"
NOTEBOOKS = sorted(NBS.glob("*.ipynb"))
NETWORKS = [p for p in NOTEBOOKS if "30" <= p.stem[:2] <= "38"]
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
pytestmark = pytest.mark.filterwarnings("ignore:Found cells containing imports")  # tested below

IMPORTS = (ast.Import, ast.ImportFrom)
DEFINED = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
RECIPE_MAKERS = {"Recipe", "honest_recipe", "replace"}
SILENT = "(echo|include): *false"  # what keeps the source of a cell off the page
MOST_COLUMNS = 10  # more don't fit into the site's text column
MOST_PRINTED = 3_000  # characters
ABSOLUTE = re.compile(r"(?<![\w.])/(root|home|work|tmp|Users)/")

@pytest.fixture(scope="module")
def page_of():
    "The function that gives a notebook's cells as nbdev's filter, the site's own, leaves them."
    import matplotlib  # all imported here: collecting must not wait for them
    from execnb.nbio import read_nb
    from IPython.core.interactiveshell import InteractiveShell
    from nbdev.cli import FilterDefaults

    @functools.cache
    def page(path):
        quiet = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(quiet), \
             contextlib.redirect_stderr(quiet):
            patch.chdir(NBS)
            patch.setenv("IN_TEST", "1")
            patch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # the shell takes it
            patch.setattr(InteractiveShell, "_instance", None)
            nb = read_nb(path)
            FilterDefaults()(nb)
            atexit.unregister(InteractiveShell._instance.atexit_operations)  # half a second each
        return nb.cells

    backend = matplotlib.get_backend()
    with matplotlib.rc_context():
        yield page
    matplotlib.use(backend)

def written(path):
    return json.loads(path.read_text())["cells"]
def source(cell):
    return "".join(cell["source"])
def has(cell, option):
    return re.search(rf"^#\| *({option})\b", source(cell), re.M)
def exported(cell):
    return has(cell, "exports?")
def of_kind(cells, kind):
    return [(k, c) for k, c in enumerate(cells) if c["cell_type"] == kind]
def visible(cells):
    return [(k, c) for k, c in of_kind(cells, "code") if not has(c, "hide")]
def data(output):
    return {kind: "".join(v) for kind, v in output.get("data", {}).items()}

# What the page leaves out

def words(text):
    "Words in their order, without where links lead: the filter makes links of names."
    return " ".join(re.findall(r"\w+", re.sub(r"\]\([^)]*\)", "]", text)))

def paragraphs(cell):
    return [p for p in re.split(r"\n\s*\n", source(cell)) if words(p)]

def lost_prose(cells, page):
    "Paragraphs that are not on the page; those of the first cell belong into its front matter."
    front = yaml.safe_load(source(page[0]).strip().strip("-"))
    opening = {words(str(front.get(key))) for key in ("title", "description")}
    prose = words("\n\n".join(source(c) for _, c in of_kind(page, "markdown")))
    lost = [(0, p) for p in paragraphs(cells[0]) if words(p) not in opening]
    lost += [(k, p) for k, c in of_kind(cells, "markdown") for p in paragraphs(c)
             if k > 0 and f" {words(p)} " not in f" {prose} "]
    return [f"cell {k}: not on the page: {p[:60]!r}" for k, p in lost]

def statements(cells):
    "Statements of code cells, in their order: number of the cell, and the statement."
    return [(k, n) for k, c in of_kind(cells, "code") for n in ast.parse(source(c)).body]

def defined(cells):
    "What the exported cells define: functions, classes, constants."
    return [(k, n) for k, n in statements(cells) if exported(cells[k]) and isinstance(n, DEFINED)]

def shown(page):
    "The code that the page shows, statement by statement, in Python's own spelling."
    return {ast.unparse(n) for k, n in statements(page) if not has(page[k], SILENT)}

def documented(page):
    "Names of functions and classes whose signature the page shows."
    cells = [c for _, c in of_kind(page, "code") if re.search(r"^show_doc\(", source(c), re.M)]
    docs = [data(o).get("text/markdown", "") for c in cells for o in c["outputs"]]
    return {name for text in docs for name in re.findall(r"^### (\S+)", text, re.M)}

def lost_names(cells, page):
    "Exported definitions that leave no trace on the page, neither source nor signature."
    on_page, signatures = shown(page), documented(page)
    lost = [(k, n) for k, n in defined(cells)
            if ast.unparse(n) not in on_page and getattr(n, "name", "") not in signatures]
    return [f"cell {k}: not on the page: {ast.unparse(n)[:40]!r}" for k, n in lost]

def recipes(cells):
    "Exported assignments that make a recipe, in Python's own spelling."
    calls = [(n, c) for _, n in defined(cells) if isinstance(n, ast.Assign)
             for c in ast.walk(n) if isinstance(c, ast.Call)]
    return {ast.unparse(n) for n, call in calls if ast.unparse(call.func) in RECIPE_MAKERS}

# What a reader, or Quarto, would stumble over

def bad_options(cells):
    "Cells whose options are no YAML; most often for a colon in a text without quotes."
    bad = []
    for k, cell in of_kind(cells, "code"):
        options = "\n".join(re.findall(r"^#\| *([\w-]+ *:.*)", source(cell), re.M))
        try:
            yaml.safe_load(options)
        except yaml.YAMLError:
            bad.append(f"cell {k}: options are no YAML")
    return bad

def mixed_imports(cells):
    "Cells with imports and more: nbdev runs the whole cell when it builds the site."
    importing = {k for k, n in statements(cells)
                 if any(isinstance(part, IMPORTS) for part in ast.walk(n))}
    doing_more = {k for k, n in statements(cells) if not isinstance(n, IMPORTS)}
    return [f"cell {k}: imports mixed with code" for k, c in visible(cells)
            if k in importing & doing_more and not exported(c)]

def missing_alt(cells):
    "Cells with a picture that nobody describes to those who can't see it."
    return [f"cell {k}: a picture without fig-alt" for k, c in visible(cells)
            if any(kind.startswith("image/") for o in c["outputs"] for kind in data(o))
            and not has(c, r"fig-alt:.*\w")]

def faults(output):
    "What is wrong with an output, in words."
    printed = "".join(output.get("text", ""))
    text = printed + "\n".join(t for kind, t in data(output).items() if kind.startswith("text/"))
    rows = re.findall(r"<tr.*?</tr>", text, re.S)
    columns = max([len(re.findall(r"<t[hd]\b", row)) for row in rows], default=0)
    found = {"an error": output["output_type"] == "error",
             "something on stderr": output.get("name") == "stderr",
             "too much printed": len(printed) > MOST_PRINTED,
             "a table with NaN": ">NaN<" in text,
             "a table too wide": columns > MOST_COLUMNS,
             "an absolute path": ABSOLUTE.search(text)}
    return [fault for fault, is_there in found.items() if is_there]

def bad_outputs(cells):
    "Visible outputs that are hard to read, or tell of the machine they were made on."
    return [f"cell {k}: {f}" for k, c in visible(cells) for o in c["outputs"] for f in faults(o)]

# All notebooks, and one with planted faults

@each_notebook
@pytest.mark.parametrize("lost", [lost_prose, lost_names])
def test_all_that_was_written_is_on_the_page(path, lost, page_of):
    assert lost(written(path), page_of(path)) == []

@pytest.mark.parametrize("path", NETWORKS, ids=lambda p: p.stem)
def test_recipes_are_shown_with_their_source(path, page_of):
    found = recipes(written(path))
    assert found and found - shown(page_of(path)) == set()

@each_notebook
@pytest.mark.parametrize("check", [bad_options, mixed_imports, missing_alt, bad_outputs])
def test_nothing_to_stumble_over(path, check):
    assert check(written(path)) == []

def code(source, **output):
    "A code cell; with an output, if something of one is given."
    outputs = [dict(output_type="display_data", metadata={}) | output] if output else []
    return dict(cell_type="code", metadata={}, execution_count=None, source=source, outputs=outputs)

RECIPE = "HONEST = honest_recipe('a', 'ResNet50')"
NAN = {"text/html": "<table><tr><td>NaN</td></tr></table>"}
WIDE = {"text/html": "<table><tr>" + "<td>1</td>" * 12 + "</tr></table>"}
FAULTY = [
    dict(cell_type="markdown", metadata={}, source="# Title\n\n> Summary.\n\nAn introduction."),
    code("#| export\nfrom skin_nb.recipe import honest_recipe"),
    code(f"#| export\ndef _helper(): return 1\n\ndef public(): return 1\n\n{RECIPE}"),
    code("table", data=NAN),
    code("table", data=WIDE),
    code("folder", data={"text/plain": "'/home/me/data'"}),
    code("warn()", output_type="stream", name="stderr", text="careful"),
    code("fail()", output_type="error", ename="DataError", evalue="", traceback=[]),
    code("print(all)", output_type="stream", name="stdout", text="1\n" * MOST_PRINTED),
    code("#| fig-alt: Loss: training and validation\nplot()", data={"image/png": "AAAA"}),
    code("plot()", data={"image/png": "AAAA"}),
    code("import os\nfolder = os.getcwd()"),
    code("#| hide\ntable", data=NAN),
]

def test_planted_faults_are_found(tmp_path, page_of):
    path = tmp_path / "faulty.ipynb"
    path.write_text(json.dumps(dict(cells=FAULTY, metadata={}, nbformat=4, nbformat_minor=5)))
    cells, page = written(path), page_of(path)
    assert lost_prose(cells, page) == ["cell 0: not on the page: 'An introduction.'"]
    assert lost_names(cells, page) == [
        "cell 2: not on the page: 'def _helper():\\n    return 1'",
        f"cell 2: not on the page: {RECIPE[:40]!r}"]
    assert recipes(cells) - shown(page) == {RECIPE}
    assert bad_outputs(cells) == [
        "cell 3: a table with NaN", "cell 4: a table too wide", "cell 5: an absolute path",
        "cell 6: something on stderr", "cell 7: an error", "cell 8: too much printed"]
    assert bad_options(cells) == ["cell 9: options are no YAML"]
    assert missing_alt(cells) == ["cell 10: a picture without fig-alt"]
    assert mixed_imports(cells) == ["cell 11: imports mixed with code"]
