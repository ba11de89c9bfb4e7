"""The page that shows a model, in a real browser: what it answers, whom it asks, what it leaves
behind."""
import importlib.util
import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit
import pytest
from PIL import Image
from skin_nb.demo import RESEARCH_ONLY, demo_command, serving
from tiny import tiny_trial


def chromium():
    "The path of a Chromium; None: there is none."
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


def missing():
    "What the browser tests need and don't find."
    modules = [name for name in ("gradio", "playwright") if not importlib.util.find_spec(name)]
    return modules if chromium() else [*modules, "Chromium"]


needs_gradio = pytest.mark.skipif(not importlib.util.find_spec("gradio"), reason="needs gradio")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def trial(home):
    return tiny_trial(home / "run", 1)


@pytest.fixture(scope="module")
def pictures(trial, home):
    "Files as people upload them, by name."
    folder = home / "pictures"
    folder.mkdir()
    picture = Image.open(trial.table[trial.table["split"] == "test"].path.iloc[0])
    picture.save(folder / "mole.jpg")
    picture.resize((60, 40)).save(folder / "<b>small.png")
    (folder / "letter.jpg").write_text("Dear Sir")
    Image.new("1", (30_000, 30_000)).save(folder / "bomb.png")
    return {path.name: path for path in folder.iterdir()}


def free_port():
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


@pytest.fixture(scope="module")
def served(trial):
    "The address of the page and its folder of uploads."
    if missing():
        pytest.skip(f"needs {', '.join(missing())}")
    from skin_nb.classifier import Classifier
    classifier = Classifier.load(trial.folder / "model.keras")
    with serving(classifier, port=free_port()) as found:
        yield found
    assert not found[1].exists()


class Visitor:
    "Somebody who looks at the page."
    def __init__(self, page, url):
        self.page = page
        self.asked = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(url)
        self.see("not a medical device")

    def see(self, text):
        self.page.get_by_text(text).first.wait_for()

    def upload(self, path):
        self.page.locator("input[type=file]").set_input_files(path)

    def hosts(self):
        "The machines that the browser has turned to."
        places = [urlsplit(url) for url in self.asked]
        return {place.netloc for place in places if place.scheme not in ("data", "blob")}


@pytest.fixture(scope="module")
def visitor(served):
    from playwright.sync_api import sync_playwright
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield Visitor(browser.new_page(), served[0])
        browser.close()


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_picture_is_answered(visitor, served, pictures):
    visitor.upload(pictures["mole.jpg"])
    page = visitor.page
    drawn = page.locator("figure img")
    drawn.wait_for()
    rows = page.locator("tbody tr").all_inner_texts()
    assert len(rows) == 7 and any(row.startswith("melanoma (mel)") for row in rows)
    assert sum(float(row.split("\t")[1]) for row in rows) == pytest.approx(1, abs=.005)
    assert {row.split("\t")[2].strip() for row in rows} <= {"yes", "no"}
    assert drawn.evaluate("image => image.naturalWidth") > 100
    assert "heat map" in drawn.get_attribute("alt")
    assert page.get_by_text(RESEARCH_ONLY).is_visible()
    assert files_in(served[1]) == []


@pytest.mark.parametrize("name, sentence", [
    ("letter.jpg", "letter.jpg has no answer: found a file that is no picture"),
    ("bomb.png", "bomb.png has no answer: found a picture of absurd size")])
def test_what_cant_be_read_gets_a_sentence(visitor, served, pictures, name, sentence):
    visitor.upload(pictures[name])
    visitor.see(sentence)
    assert files_in(served[1]) == []


def test_names_are_text(visitor, pictures):
    visitor.upload(pictures["<b>small.png"])
    visitor.see("small")
    assert visitor.page.locator("h3 b").count() == 0


def test_a_large_file_is_refused_before_it_is_kept(visitor, served, home):
    large = home / "large.png"
    with large.open("wb") as file:
        file.truncate(50_000_001)  # takes no room on the disk
    visitor.upload(large)
    visitor.see("exceed")
    assert files_in(served[1]) == []


def test_no_other_machine_is_asked(visitor, served):
    "After all of the above: fonts, scripts, analytics."
    assert visitor.hosts() == {urlsplit(served[0]).netloc}


def test_nothing_is_offered_but_the_page(served):
    import requests
    url = served[0]
    assert requests.get(f"{url}gradio_api/info").json() == dict(
        named_endpoints={}, unnamed_endpoints={})
    assert requests.get(f"{url}monitoring").status_code == 403
    assert requests.get(f"{url}gradio_api/runs").status_code == 404
    config = requests.get(f"{url}config").json()
    assert not config["analytics_enabled"] and config["footer_links"] == []
    outside = requests.get(f"{url}gradio_api/file={Path(__file__).resolve()}")
    assert outside.status_code in (403, 404)


@needs_gradio
def test_the_command_serves_until_it_is_stopped(trial, capsys, monkeypatch):
    import skin_nb.demo as module
    found = []

    def wait(folder):
        found.append(folder)
        assert folder.is_dir()
    monkeypatch.setattr(module, "_wait", wait)
    model = str(trial.folder / "model.keras")
    port = str(free_port())
    assert demo_command(["--model", model, "--port", port, "--host", "0.0.0.0"]) == 0
    said = capsys.readouterr().out
    assert "WARNING: other machines" in said and f":{port}/" in said
    assert demo_command(["--model", model, "--port", port]) == 0
    said = capsys.readouterr().out
    assert "WARNING" not in said and f"http://127.0.0.1:{port}/" in said
    assert not found[0].exists()


@needs_gradio
def test_a_model_that_is_none_is_a_sentence(tmp_path, capsys):
    (tmp_path / "x.keras").write_text("x")
    arguments = ["--port", str(free_port()), "--model"]
    for model in (tmp_path / "x.keras", tmp_path / "none.keras"):
        assert demo_command([*arguments, str(model)]) == 2
        assert model.name in capsys.readouterr().err
