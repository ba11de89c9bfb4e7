"""What a reader of the site gets beside the pages: a way through them, words that are found,
nothing from elsewhere."""
import json
import re
from configparser import ConfigParser
from pathlib import Path

import nbformat
import numpy as np
import pytest
import run_all
import yaml
from sidebar import make_sidebar, sidebar_contents
from sklearn.metrics import log_loss as reference_loss

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
NOTEBOOKS = sorted(NBS.glob("*.ipynb"))
SETTINGS = ConfigParser(delimiters=["="])
SETTINGS.read(ROOT / "settings.ini", encoding="utf-8")
REPOSITORY = SETTINGS["DEFAULT"]["git_url"]
SITE = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def cells(path, kind):
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [c for c in found if c["cell_type"] == kind]


def source(cell):
    return "".join(cell["source"])


def prose(path):
    "The markdown of a page, without code."
    text = "\n\n".join(source(c) for c in cells(path, "markdown"))
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)


def links(text):
    return re.findall(r"\]\(([^)\s]+)\)", text)


# The sidebar

def pages(contents):
    "The pages of a sidebar in the order in which a reader comes to them."
    for entry in contents:
        if "contents" in entry:
            yield from pages(entry["contents"])
        else:
            yield entry


def test_the_sidebar_is_made_from_the_notebooks():
    written = (NBS / "sidebar.yml").read_text(encoding="utf-8")
    assert written == make_sidebar(), "run: make readme"


def test_every_page_is_in_the_sidebar_once_and_in_order():
    listed = [page["href"] for page in pages(sidebar_contents())]
    assert sorted(listed) == [p.name for p in NOTEBOOKS]
    numbered = [name for name in listed if name[0].isdigit()]
    assert numbered == sorted(numbered)
    assert listed[:2] == ["index.ipynb", "start_here.ipynb"]


def test_chapters_have_numbers_and_sections_have_pages():
    contents = yaml.safe_load(make_sidebar())["website"]["sidebar"]["contents"]
    texts = {page["href"]: page["text"] for page in pages(contents)}
    assert texts["23a_map_checks.ipynb"].startswith("23a ")
    sections = {entry["section"]: entry["contents"] for entry in contents if "section" in entry}
    assert all(sections.values()) and {"Data", "Networks", "Melanoma", "Studies"} <= set(sections)


def test_nbdev_leaves_the_sidebar_alone():
    assert SETTINGS["DEFAULT"]["custom_sidebar"] == "True"


# Quarto's settings

def test_the_theme_has_a_light_and_a_dark_side_that_load_nothing():
    html = SITE["format"]["html"]
    assert set(html["theme"]) == {"light", "dark"}
    styles = {name for theme in html["theme"].values() for name in theme if "." in name}
    assert styles == {"site.scss"}
    assert "$web-font-path: false" in (NBS / "site.scss").read_text()
    assert html["html-math-method"] == "mathml"


def test_a_hundred_characters_of_code_fit():
    "Code is set in 14.9 px, .6 of that a character, in a body with 50 px of margin."
    width = int(SITE["format"]["html"]["grid"]["body-width"].removesuffix("px"))
    assert width - 50 >= 100 * 14.9 * .6


def test_files_that_the_site_names_are_there():
    site, html = SITE["website"], SITE["format"]["html"]
    named = [site["favicon"], site["image"], html["include-after-body"], "404.md"]
    named += links(site["page-footer"]["right"])
    assert [name for name in named if not (NBS / name).is_file()] == []
    assert site["image"] in SITE["project"]["resources"]


def test_quarto_reads_these_settings():
    stub = yaml.safe_load((NBS / "_quarto.yml").read_text())
    assert stub["metadata-files"] == ["../_quarto.yml", "nbdev.yml", "sidebar.yml"]


OTHER_SERVER = re.compile(r"""(?:src|href)=["'](?:https?:)?//[^"']*\.(?:js|css|woff2?)|"""
                          r"""<(?:script|img|iframe)[^>]*src=["'](?:https?:)?//|@import url""")
WIDGETS = {"application/javascript", "application/vnd.jupyter.widget-view+json"}


@each_notebook
def test_a_page_asks_no_other_server(path):
    "A page with a widget makes Quarto load its scripts from elsewhere; so do pictures by address."
    outputs = [o.get("data", {}) for c in cells(path, "code") for o in c["outputs"]]
    assert [o for o in outputs if WIDGETS & set(o)] == []
    html = "\n".join("".join(o.get("text/html", "")) for o in outputs)
    assert OTHER_SERVER.findall(html + prose(path)) == []
    assert re.findall(r"!\[[^]]*\]\(https?:", prose(path)) == []


def test_small_files_ask_no_other_server():
    text = "".join(
        (NBS / name).read_text() for name in ("sortable.html", "site.scss", "favicon.svg")
    )
    assert OTHER_SERVER.findall(text) == []


# Links

@each_notebook
def test_links_stay_on_the_site(path):
    "What lies above nbs/ is not on the site: it is linked to where the project is kept."
    assert [link for link in links(prose(path)) if link.startswith("..")] == []


@pytest.mark.parametrize("path", [*NOTEBOOKS, ROOT / "CONTRIBUTING.md"], ids=lambda p: p.stem)
def test_links_into_the_repository_lead_somewhere(path):
    text = prose(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    kept = re.findall(re.escape(REPOSITORY) + r"/(?:blob|tree)/main/([^)\s#]+)", text)
    assert [name for name in kept if not (ROOT / name).exists()] == []


def headings(path):
    lines = re.findall(r"^#{2,6} (.+)$", prose(path), re.M)
    return {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in lines}


@each_notebook
def test_anchors_are_there(path):
    "An anchor of a chapter is one of its headings, or a name that it defines."
    missing = []
    for name, anchor in re.findall(r"\]\(([\w.]*)#([\w.-]+)\)", prose(path)):
        page = NBS / name if name else path
        code = "\n".join(source(c) for c in cells(page, "code"))
        defined = set(re.findall(r"^(?:def|class) (\w+)", code, re.M))
        if anchor not in headings(page) | defined:
            missing.append((name, anchor))
    assert missing == []


def test_the_page_for_lost_readers_leads_on():
    lost = (NBS / "404.md").read_text()
    assert yaml.safe_load(lost.split("---")[1])["title"]
    assert links(lost) and all((NBS / link).is_file() for link in links(lost))


# What a search finds

@pytest.mark.parametrize("words", [
    "heat map", "leak", "my own data", "melanoma", "class weights", "confidence interval",
    "threshold", "hair", "dark skin", "licence", "GPU"])
def test_search_finds(words):
    "The search goes through titles, headings and prose of all pages."
    found = [p.stem for p in NOTEBOOKS if re.search(re.escape(words), prose(p), re.I)]
    assert found


@pytest.mark.parametrize("words, page", [
    ("heat map", "start_here"), ("my own data", "start_here"), ("leak", "glossary"),
    ("leakage", "50_leakage"), ("conformal set", "glossary"), ("balanced accuracy", "glossary")])
def test_a_page_of_its_own_answers(words, page):
    assert re.search(words, prose(NBS / f"{page}.ipynb"), re.I)


def test_results_begin_with_the_leaderboard():
    shown = [source(c) for c in cells(NBS / "90_results.ipynb", "code")]
    board = next(k for k, s in enumerate(shown) if "format_leaderboard(board" in s)
    assert board < next(k for k, s in enumerate(shown) if "def plot_cost" in s)
    before = prose(NBS / "90_results.ipynb").split("## ")[0]
    assert len(before) < 600


@pytest.mark.parametrize("word", [
    "akiec", "bcc", "bkl", "df", "mel", "nv", "vasc", "lesion", "dermoscopy", "prefix", "cut",
    "view", "leak", "fold", "backbone", "recipe"])
def test_the_glossary_has(word):
    text = "".join(source(c) for c in cells(NBS / "glossary.ipynb", "markdown"))
    bold = " ".join(re.findall(r"\*\*(.+?)\*\*", text)).lower()
    assert re.search(rf"\b{word}\b", bold)


def test_the_first_screen_says_what_it_isnt():
    first = (ROOT / "README.md").read_text(encoding="utf-8")[:600]
    assert "medical device" in first and "diagnosis" in first


# Other files

def test_the_citation_is_whole_and_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == SETTINGS["DEFAULT"]["version"]
    assert citation["repository-code"] == REPOSITORY


def test_the_workflow_is_pinned():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    steps = [s for job in yaml.safe_load(text)["jobs"].values() for s in job["steps"]]
    actions = [s["uses"] for s in steps if "uses" in s]
    assert actions and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name) for name in actions)
    assert re.search(r"QUARTO: \d+\.\d+\.\d+", text)
    assert {"bash .ci/run", "make docs"} <= {s.get("run") for s in steps}


def examples():
    "The Python of CONTRIBUTING.md, run."
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    space = dict(np=np)
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(re.sub(r"^   ", "", block, flags=re.M), space)
    return space


def test_worked_examples_are_true():
    made = examples()
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 20)
    y = np.arange(20) % 3
    found = made["log_loss"](y, p, np.ones((20, 1)))
    np.testing.assert_allclose(found, [reference_loss(y, p)])
    target = np.array([[0., 1.]])
    np.testing.assert_allclose(made["poly_term"](np.log([[.25, .75]]), target, 2.), [.5])


# Notebooks as Jupyter runs them

@each_notebook
def test_the_package_comes_before_keras(path):
    "Importing it first keeps TensorFlow's log lines out of the notebook."
    lines = "\n".join(source(c) for c in cells(path, "code")).splitlines()
    imports = [line for line in lines if re.match(r"(import|from) ", line)]
    first = {name: next((k for k, line in enumerate(imports) if name in line.split()[1]), None)
             for name in ("skin_nb", "keras", "tensorflow")}
    for library in ("keras", "tensorflow"):
        assert first[library] is None or first["skin_nb"] < first[library]


@each_notebook
def test_bars_are_those_of_the_house(path):
    "tqdm's own complain of missing widgets, in red."
    code = "\n".join(source(c) for c in cells(path, "code"))
    assert "tqdm.auto" not in code and "tqdm.notebook" not in code


EXPERIMENTS = [p for p in NOTEBOOKS if p.stem[:2].isdigit() and 30 <= int(p.stem[:2]) < 90]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_results_go_into_the_project(path):
    "Papermill leaves the working directory as it is: a folder of its own would lie elsewhere."
    tagged = [
        source(c) for c in cells(path, "code") if "parameters" in c["metadata"].get("tags", [])
    ]
    assert re.search(r'^out = ""', tagged[0], re.M)
    code = "\n".join(source(c) for c in cells(path, "code"))
    assert f'out = out or notebook_folder("{path.stem}")' in code


@each_notebook
def test_nothing_that_passes_is_stored(path):
    assert list(run_all.passing(nbformat.read(path, as_version=4))) == []


@each_notebook
def test_figures_have_one_format(path):
    "Otherwise every way to run a notebook has a format of its own."
    shown = [form for _, form, _ in run_all.answers(nbformat.read(path, as_version=4))]
    figures = {form for form in shown if form.startswith("image/")}
    code = "\n".join(source(c) for c in cells(path, "code"))
    assert figures <= {"image/jpeg"}
    assert not figures or code.count("set_matplotlib_formats(\"jpeg\"") == 1


@each_notebook
def test_tables_are_stored_as_jupyter_prints_them(path):
    """A kernel shows twenty columns, other programs as many as fit: run it with Run All, or
    tests/run_all.py --write."""
    stored = run_all.answers(nbformat.read(path, as_version=4))
    tables = [content for _, form, content in stored if form == "text/plain" and "\n" in content]
    assert [table for table in tables if re.search(r" \.\.\. .*\n", table) and is_cut(table)] == []


def is_cut(table):
    "Whether a table of at most twenty columns lacks some."
    shape = re.search(r"\[\d+ rows x (\d+) columns\]$", table)
    return shape is not None and int(shape[1]) <= 20


def notebook_of(*sources):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])


SLEEP = "for _ in tracked(range(5), 'steps', 5): time.sleep(.6)"


def test_bars_are_taken_away(tmp_path):
    "In a kernel, whatever stands beside them; alone they leave nothing."
    path = tmp_path / "bars.ipynb"
    nbformat.write(
        notebook_of(
            "import time\nfrom skin_nb.terminal import tracked",
            f"{SLEEP}\n'done'",
            f"print('before')\n{SLEEP}",
        ),
        path,
    )
    cells = run_all.run_in_kernel(path, dict(TQDM_DISABLE="")).cells
    assert [output.data["text/plain"] for output in cells[1].outputs] == ["'done'"]
    assert [output.text for output in cells[2].outputs] == ["before\n"]


def answering(text, name="stdout"):
    nb = notebook_of("1")
    nb.cells[0].outputs = [nbformat.v4.new_output("stream", name=name, text=text)]
    return nb


@pytest.mark.parametrize(
    "text, name, exact, fault",
    [
        ("took 12 s\n", "stdout", False, None),
        ("took 12 s\n", "stdout", True, "another"),
        ("took 11 hours\n", "stdout", False, "another"),
        ("took 11 s\n", "stderr", False, "red"),
        ("50%|█████ |\n", "stdout", False, "bar"),
        ("in /tmp/tmpab3d_f9g\n", "stdout", False, "folder"),
    ],
)
def test_changes_are_found(text, name, exact, fault):
    found = list(run_all.changes(answering("took 11 s\n"), answering(text, name), exact))
    assert bool(found) == bool(fault) and (not fault or fault in found[0])


# what trains, draws and reports; python tests/run_all.py runs the others
RUN_ALL = (
    "00b_terminal",
    "21c_training",
    "24a_experiments",
    "28_predict",
    "28a_model_card",
    "29_report",
    "30a_sample_net",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN_ALL)
def test_run_all_changes_nothing(name):
    "Numbers may: they are those of a processor. What is there, and what it says, may not."
    path = NBS / f"{name}.ipynb"
    ran = run_all.run_in_kernel(path, dict(TQDM_DISABLE=""))
    assert list(run_all.changes(nbformat.read(path, as_version=4), ran)) == []
