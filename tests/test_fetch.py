"Downloads against a local server: checksums, cut connections, unsafe archives, second calls."
import hashlib
import http.server
import io
import json
import os
import re
import stat
import sys
import threading
import zipfile
from dataclasses import replace
import pytest
from filelock import FileLock
from skin_nb import fetch as module
from skin_nb.core import DataError
from skin_nb.fetch import (
    DOI, ISIC_GROUP_COLUMNS, ISIC_GROUPS, WANTED, File, download, fetch, fetch_command, unpack)
from skin_nb.readers import read_ham10000
from skin_nb.sample import write_ham10000

CONTENT = os.urandom(200_000)
LISTING = f"/api/datasets/:persistentId/?persistentId=doi:{DOI}"

class Server(http.server.ThreadingHTTPServer):
    "Files from memory."
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}  # path -> bytes
        self.asked = []  # (path, first byte) of every request
        self.cut = []  # after how many bytes the next answers break off
        self.ranges = True  # whether Range is obeyed
        how = dict(poll_interval=.02)
        threading.Thread(target=self.serve_forever, kwargs=how, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def file(self, name, content, md5=None):
        "Offer a file; what `fetch` has to know about it."
        self.files["/" + name] = content
        if md5 is None:
            md5 = hashlib.md5(content).hexdigest()
        return File(name, f"{self.url}/{name}", len(content), md5)

    def first_byte(self, headers):
        asked = re.match(r"bytes=(\d+)-", headers.get("Range", ""))
        return int(asked[1]) if asked and self.ranges else 0

class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        start = self.server.first_byte(self.headers)
        self.server.asked.append((self.path, start))
        status, body = self.answer(start)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        end = self.server.cut.pop(0) if self.server.cut else None
        self.wfile.write(body[:end])

    def answer(self, start):
        "Status and body from a byte on; a query only counts where a file is offered under it."
        files = self.server.files
        content = files.get(self.path, files.get(self.path.split("?")[0]))
        if content is None:
            return 404, b""
        if start >= len(content) > 0:
            return 416, b""
        return (206 if start else 200), content[start:]

@pytest.fixture
def server():
    s = Server()
    yield s
    s.shutdown()
    s.server_close()

def archive(**members):
    "The bytes of a zip archive."
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, content in members.items():
            z.writestr(name, content)
    return out.getvalue()

def refused(call, *texts):
    with pytest.raises(DataError) as e:
        call()
    for text in texts:
        assert text in str(e.value)
    assert all(p.fix and p.expected for p in e.value.problems)

def names_below(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))

def test_whole_file(server, tmp_path):
    assert download(server.file("a.bin", CONTENT), tmp_path).read_bytes() == CONTENT
    assert names_below(tmp_path) == ["a.bin"]

def test_wrong_checksum(server, tmp_path):
    file = server.file("a.bin", CONTENT, "0" * 32)
    refused(lambda: download(file, tmp_path), "another checksum", "0" * 32)
    assert not (tmp_path / "a.bin").exists()

def test_resumes_after_each_cut(server, tmp_path):
    server.cut = [60_000] * 9
    assert download(server.file("a.bin", CONTENT), tmp_path).read_bytes() == CONTENT
    starts = [start for _, start in server.asked]
    assert len(starts) > 3 and starts == sorted(set(starts))
    assert starts[0] == 0 and starts[-1] > 140_000

def test_what_arrived_is_kept_for_the_next_call(server, tmp_path):
    server.cut = [60_000] + [0] * 9
    file = server.file("a.bin", CONTENT)
    refused(lambda: download(file, tmp_path), "run the command again")
    kept = (tmp_path / "a.bin.part").stat().st_size
    assert 0 < kept < len(CONTENT) and not (tmp_path / "a.bin").exists()
    server.cut = []
    server.asked.clear()
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/a.bin", kept)]

def test_server_without_ranges(server, tmp_path):
    server.ranges = False
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:70_000])
    assert download(server.file("a.bin", CONTENT), tmp_path).read_bytes() == CONTENT

def test_complete_part_of_unknown_size(server, tmp_path):
    file = server.file("a.bin", CONTENT)
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    unsized = File(file.name, file.url, md5=file.md5)
    assert download(unsized, tmp_path).read_bytes() == CONTENT

def test_stale_part_is_caught(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(b"x" * 70_000)
    file = server.file("a.bin", CONTENT)
    refused(lambda: download(file, tmp_path), "another checksum")
    assert download(file, tmp_path).read_bytes() == CONTENT

def test_missing_file_and_no_server(server, tmp_path):
    missing = File("b.bin", f"{server.url}/b.bin")
    refused(lambda: download(missing, tmp_path), "b.bin", "404")
    nowhere = File("b.bin", "http://127.0.0.1:9/b.bin")
    refused(lambda: download(nowhere, tmp_path), "Check the connection")

@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..\\evil", "C:/evil"])
def test_unsafe_path(tmp_path, name):
    (tmp_path / "bad.zip").write_bytes(archive(**{"fine": "x", name: "x"}))
    refused(lambda: unpack(tmp_path / "bad.zip", tmp_path / "to" / "bad"), "bad.zip", "path")
    assert names_below(tmp_path) == ["bad.zip"]

def test_link_in_archive(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as z:
        z.writestr(link, "/etc/passwd")
    refused(lambda: unpack(tmp_path / "bad.zip", tmp_path / "bad"), "a link")

GOOD = archive(**{"a.txt": "A" * 1000})
DAMAGED = {"cut.zip": GOOD[:-30], "flipped.zip": GOOD.replace(b"AAAA", b"AABA", 1),
           "page.zip": b"<html>"}

@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_archive(server, tmp_path, name):
    file = server.file(name, DAMAGED[name])
    refused(lambda: fetch([file], tmp_path / "set"), name)
    assert not [p for p in (tmp_path / "set").rglob("*") if p.is_file()]

def test_goes_on_with_the_file_it_was_at(server, tmp_path):
    one = server.file("one.zip", archive(**{"one/a.txt": "A"}))
    two = server.file("two.zip", archive(**{"b.txt": "B"}))
    content = server.files.pop("/two.zip")
    refused(lambda: fetch([one, two], tmp_path), "two.zip")
    assert (tmp_path / "one" / "a.txt").read_text() == "A"
    assert not (tmp_path / "fetched.json").exists()
    server.files["/two.zip"] = content
    server.asked.clear()
    fetch([one, two], tmp_path)
    assert (tmp_path / "two" / "b.txt").read_text() == "B"
    assert {path for path, _ in server.asked} == {"/two.zip"}

def test_no_room(server, tmp_path):
    huge = File("a.zip", server.url + "/a.zip", 10 ** 18)
    refused(lambda: fetch([huge], tmp_path), "free space", "Make room")
    assert server.asked == []

def test_a_slow_server_is_left_and_taken_up_again(server, tmp_path, monkeypatch):
    "What came before a transfer was given up is kept, and only the rest is asked for."
    monkeypatch.setattr(module, "PATIENCE", 1e-9)  # every block comes too late
    monkeypatch.setattr(module, "LEAST_RATE", 1e18)
    monkeypatch.setattr(module, "_BLOCK", 50_000)
    file = server.file("a.bin", CONTENT)
    refused(lambda: download(file, tmp_path), "bytes a second", "what has arrived is kept")
    kept = (tmp_path / "a.bin.part").stat().st_size
    assert 0 < kept < len(CONTENT) and len(server.asked) == 1
    monkeypatch.undo()
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("/a.bin", kept)

def test_login_page_in_place_of_a_table(server, tmp_path):
    page = server.file(ISIC_GROUPS, b"<html>Please log in</html>", "")
    table = replace(page, size=None, columns=ISIC_GROUP_COLUMNS)
    refused(lambda: fetch([table], tmp_path), "LesionGroupings.csv", "Please log in", "isn't kept")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    server.files["/" + table.name] = b"\xef\xbb\xbfimage,lesion_id,diagnosis_confirm_type\r\n"
    fetch([table], tmp_path)
    assert (tmp_path / table.name).read_bytes().startswith(b"\xef\xbb\xbfimage")

def test_size_that_was_announced(server, tmp_path):
    file = replace(server.file("a.bin", CONTENT, ""), size=150_000)
    refused(lambda: download(file, tmp_path), "200,000 bytes", "150,000 bytes")
    assert names_below(tmp_path) == []

def test_two_calls_at_once(server, tmp_path):
    (tmp_path / ".download").mkdir()
    with FileLock(tmp_path / ".download" / "lock"):
        refused(lambda: fetch([server.file("a.bin", CONTENT)], tmp_path), "another skin_nb_fetch")
    assert server.asked == []
    fetch([server.file("a.bin", CONTENT)], tmp_path)
    assert names_below(tmp_path) == ["a.bin", "fetched.json"]

def test_what_is_hidden_in_an_archive_is_left_out_and_said(tmp_path):
    members = {"a.jpg": "A", "._a.jpg": "x", "__MACOSX/a.jpg": "x", "b/.DS_Store": "x"}
    (tmp_path / "a.zip").write_bytes(archive(**members))
    with pytest.warns(UserWarning, match=r"left out \(3\)"):
        unpack(tmp_path / "a.zip", tmp_path / "a")
    assert names_below(tmp_path / "a") == ["a.jpg"]

def test_a_limit_can_be_raised(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(archive(**{"a.txt": "A" * 20_000}))
    monkeypatch.setenv("SKIN_NB_MAX_GB", "0.00001")
    refused(lambda: unpack(tmp_path / "a.zip", tmp_path / "a"), "SKIN_NB_MAX_GB")
    monkeypatch.setenv("SKIN_NB_MAX_GB", "0.001")
    unpack(tmp_path / "a.zip", tmp_path / "a")
    assert (tmp_path / "a" / "a.txt").stat().st_size == 20_000

# the whole command

@pytest.fixture(scope="module")
def ham(tmp_path_factory):
    return write_ham10000(tmp_path_factory.mktemp("ham"), n=21)

def contents(folder):
    "The bytes of every file of a folder, by name."
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}

def offer(server, number, filename, content, size, **more):
    "Put a file under its number on the server; its entry in the Dataverse's listing."
    server.files[f"/api/access/datafile/{number}"] = content
    md5 = hashlib.md5(content).hexdigest()
    return dict(dataFile=dict(id=number, filename=filename, filesize=size, md5=md5, **more))

def publish(server, entries):
    listing = dict(data=dict(latestVersion=dict(files=entries)))
    server.files[LISTING] = json.dumps(listing).encode()

@pytest.fixture
def dataverse(server, ham):
    "The sample as Harvard's Dataverse offers HAM10000: flat archives, a converted table."
    entries = []
    for number, name in enumerate(WANTED[1:], 10):
        content = archive(**contents(ham / name))
        entries.append(offer(server, number, f"{name}.zip", content, len(content)))
    table = (ham / "HAM10000_metadata.csv").read_bytes()
    original = dict(originalFileFormat="text/csv", originalFileName="HAM10000_metadata.csv",
                    originalFileSize=len(table))
    entries.append(offer(server, 5, "HAM10000_metadata.tab", table, 1, **original))
    server.files["/api/access/datafile/5?format=original"] = table
    server.files["/api/access/datafile/5"] = table.replace(b",", b"\t")
    publish(server, entries)
    return server

def fetch_from(server, out):
    "The exit code of the command."
    return fetch_command(["ham10000", "--out", str(out), "--server", server.url])

def test_ham10000(dataverse, ham, tmp_path, capsys):
    assert fetch_from(dataverse, tmp_path / "set") == 0
    printed = capsys.readouterr().out
    assert "CC BY-NC 4.0" in printed and "Tschandl" in printed
    assert printed.index("licence") < printed.index("21 images")
    fetched = read_ham10000(tmp_path / "set").drop(columns="path")
    assert fetched.equals(read_ham10000(ham).drop(columns="path"))
    dataverse.asked.clear()
    assert fetch_from(dataverse, tmp_path / "set") == 0
    assert dataverse.asked == [] and "there already" in capsys.readouterr().out
    (tmp_path / "set" / "HAM10000_metadata.csv").write_text("edited")
    assert fetch_from(dataverse, tmp_path / "set") == 0
    assert "HAM10000_metadata.csv has been changed since" in capsys.readouterr().out
    (tmp_path / "set" / "HAM10000_metadata.csv").unlink()
    assert fetch_from(dataverse, tmp_path / "set") == 0
    assert "lacks HAM10000_metadata.csv" in capsys.readouterr().out
    asked = [path for path, _ in dataverse.asked]
    assert len(asked) == 2 and asked[1] == "/api/access/datafile/5?format=original"

def test_pictures_that_have_gone_are_missed(dataverse, tmp_path, capsys):
    assert fetch_from(dataverse, tmp_path / "set") == 0
    next((tmp_path / "set" / WANTED[1]).glob("*.jpg")).unlink()
    assert fetch_from(dataverse, tmp_path / "set") == 1
    printed = capsys.readouterr().out
    assert f"{WANTED[1]}: found " in printed and "Remove this folder and call again" in printed

def test_wrong_checksum_of_a_part(dataverse, tmp_path, capsys):
    dataverse.files["/api/access/datafile/10"] = archive(**{"ISIC_1.jpg": "other"})
    assert fetch_from(dataverse, tmp_path / "set") == 2
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "set" / "fetched.json").exists()

def test_problems_are_reported(dataverse, tmp_path, capsys):
    entries = json.loads(dataverse.files[LISTING])["data"]["latestVersion"]["files"]
    content = archive(**{"ISIC_9.jpg": "no picture"})
    entries[0] = offer(dataverse, 10, f"{WANTED[1]}.zip", content, len(content))
    publish(dataverse, entries)
    assert fetch_from(dataverse, tmp_path / "set") == 1
    printed = capsys.readouterr().out
    assert "row 2 and 9 more: found image ISIC_0024308, which has no file" in printed
    assert "ISIC_9.jpg: found a picture without a row" in printed and "2 problems" in printed
    assert "passed over" in printed and "folders of masks" in printed and "next: " not in printed

def test_no_dataverse_there(server, tmp_path, capsys):
    assert fetch_from(server, tmp_path) == 2
    server.files[LISTING] = b"<html>"
    assert fetch_from(server, tmp_path) == 2
    assert "isn't JSON" in capsys.readouterr().err

CLIENT = """#!{python}
import shutil
import sys
folder = sys.argv[sys.argv.index("-p") + 1]
shutil.copy({archive!r}, folder + "/skin-cancer-mnist-ham10000.zip")
"""

def install_client(folder, archive):
    "A program that stands in for Kaggle's client."
    folder.mkdir()
    client = folder / "kaggle"
    client.write_text(CLIENT.format(python=sys.executable, archive=str(archive)))
    client.chmod(0o755)

def kaggle_archive(ham):
    "One archive with all of it, and with tables nobody asked for."
    members = {f"{name}/{file}": content for name in WANTED[1:3]
               for file, content in contents(ham / name).items()}
    table = (ham / "HAM10000_metadata.csv").read_bytes()
    return archive(**members, **{"HAM10000_metadata.csv": table, "hmnist_8_8_L.csv": "1,2"})

def test_kaggle(ham, tmp_path, monkeypatch, capsys):
    "Kaggle's client is a program on the path; without it, or without a token, the command says so."
    out = tmp_path / "set"
    call = ["ham10000", "--source", "kaggle", "--out", str(out)]
    for name in "KAGGLE_USERNAME", "KAGGLE_KEY":
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert fetch_command(call) == 2 and "no such command" in capsys.readouterr().err
    (tmp_path / "all.zip").write_bytes(kaggle_archive(ham))
    install_client(tmp_path / "bin", tmp_path / "all.zip")
    assert fetch_command(call) == 2 and "no credentials" in capsys.readouterr().err
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    monkeypatch.setenv("KAGGLE_KEY", "key")
    (out / "HAM10000_metadata.csv").write_text("mine")
    assert fetch_command(call) == 2 and "Move it away" in capsys.readouterr().err
    assert (out / "HAM10000_metadata.csv").read_text() == "mine"
    (out / "HAM10000_metadata.csv").unlink()
    assert fetch_command(call) == 0 and len(read_ham10000(out)) == 21
    assert sorted(p.name for p in out.iterdir()) == [
        "HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_metadata.csv", "fetched.json"]
