"Downloads against a local server: checksums, cut connections, unsafe archives, and that a second call does nothing."
import hashlib, http.server, io, json, os, re, stat, sys, threading, zipfile
import pytest
from skin_nb.core import DataError
from skin_nb.fetch import DOI, WANTED, File, download, fetch, fetch_command, unpack
from skin_nb.readers import read_ham10000
from skin_nb.sample import write_ham10000

class Server(http.server.ThreadingHTTPServer):
    "Files from memory; `cut` holds after how many bytes the next answers break off, `ranges=False` ignores Range."
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.cut, self.ranges = {}, [], [], True
        threading.Thread(target=self.serve_forever, kwargs=dict(poll_interval=.02), daemon=True).start()
    @property
    def url(self): return f"http://127.0.0.1:{self.server_address[1]}"
    def file(self, name, content, md5=None):
        self.files["/" + name] = content
        return File(name, f"{self.url}/{name}", len(content), hashlib.md5(content).hexdigest() if md5 is None else md5)

class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def do_GET(self):
        s, path = self.server, self.path if self.path in self.server.files else self.path.split("?")[0]
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or ["", 0])[1]) if s.ranges else 0
        s.asked.append((self.path, start))
        content = s.files.get(path)
        status = 404 if content is None else 416 if start >= len(content) > 0 else 206 if start else 200
        body = content[start:] if status in (200, 206) else b""
        self.send_response(status); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body[:s.cut.pop(0) if s.cut else None])

@pytest.fixture
def server():
    s = Server(); yield s; s.shutdown(); s.server_close()

def archive(**members):
    with zipfile.ZipFile(out := io.BytesIO(), "w") as z:
        for name, content in members.items(): z.writestr(name, content)
    return out.getvalue()

def refused(call, *said):
    with pytest.raises(DataError) as e: call()
    for text in said: assert text in str(e.value)
    assert all(p.fix and p.expected for p in e.value.problems)

CONTENT = os.urandom(200_000)

def test_whole_file(server, tmp_path):
    assert download(server.file("a.bin", CONTENT), tmp_path).read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]

def test_wrong_checksum(server, tmp_path):
    refused(lambda: download(server.file("a.bin", CONTENT, "0" * 32), tmp_path), "another checksum", "0" * 32)
    assert not (tmp_path / "a.bin").exists()

def test_resumes_after_each_cut(server, tmp_path):
    server.cut = [60_000] * 9
    assert download(server.file("a.bin", CONTENT), tmp_path).read_bytes() == CONTENT
    starts = [start for _, start in server.asked]
    assert len(starts) > 3 and starts == sorted(set(starts)) and starts[0] == 0 and starts[-1] > 140_000

def test_what_arrived_is_kept_for_the_next_call(server, tmp_path):
    server.cut = [60_000] + [0] * 9
    f = server.file("a.bin", CONTENT)
    refused(lambda: download(f, tmp_path), "run the command again")
    kept = (tmp_path / "a.bin.part").stat().st_size
    assert 0 < kept < len(CONTENT) and not (tmp_path / "a.bin").exists()
    server.cut = []; server.asked.clear()
    assert download(f, tmp_path).read_bytes() == CONTENT and server.asked == [("/a.bin", kept)]

def test_server_without_ranges(server, tmp_path):
    server.ranges = False
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:70_000])
    assert download(server.file("a.bin", CONTENT), tmp_path).read_bytes() == CONTENT

def test_complete_part_of_unknown_size(server, tmp_path):
    f = server.file("a.bin", CONTENT)
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    assert download(File(f.name, f.url, md5=f.md5), tmp_path).read_bytes() == CONTENT

def test_stale_part_is_caught(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(b"x" * 70_000)
    f = server.file("a.bin", CONTENT)
    refused(lambda: download(f, tmp_path), "another checksum")
    assert download(f, tmp_path).read_bytes() == CONTENT

def test_missing_file_and_no_server(server, tmp_path):
    refused(lambda: download(File("b.bin", f"{server.url}/b.bin"), tmp_path), "b.bin", "404")
    refused(lambda: download(File("b.bin", "http://127.0.0.1:9/b.bin"), tmp_path), "Check the connection")

@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..\\evil", "C:/evil"])
def test_unsafe_path(tmp_path, name):
    (tmp_path / "bad.zip").write_bytes(archive(**{"fine": "x", name: "x"}))
    refused(lambda: unpack(tmp_path / "bad.zip", tmp_path / "to" / "bad"), "bad.zip", "path")
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] in (["bad.zip", "to"], ["to", "bad.zip"])

def test_link_in_archive(tmp_path):
    link = zipfile.ZipInfo("link"); link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as z: z.writestr(link, "/etc/passwd")
    refused(lambda: unpack(tmp_path / "bad.zip", tmp_path / "bad"), "a link")

def test_damaged_archive(server, tmp_path):
    good = archive(**{"a.txt": "A" * 1000})
    for name, content in {"cut.zip": good[:-30], "flipped.zip": good.replace(b"AAAA", b"AABA", 1), "page.zip": b"<html>"}.items():
        refused(lambda: fetch([server.file(name, content)], tmp_path / "set"), name)
    assert not [p for p in (tmp_path / "set").rglob("*") if p.is_file()]

def test_goes_on_with_the_file_it_was_at(server, tmp_path):
    one, two = server.file("one.zip", archive(**{"one/a.txt": "A"})), server.file("two.zip", archive(**{"b.txt": "B"}))
    lost = server.files.pop("/two.zip")
    refused(lambda: fetch([one, two], tmp_path), "two.zip")
    assert (tmp_path / "one" / "a.txt").read_text() == "A" and not (tmp_path / "fetched.json").exists()
    server.files["/two.zip"] = lost; server.asked.clear()
    fetch([one, two], tmp_path)
    assert (tmp_path / "two" / "b.txt").read_text() == "B" and {p for p, _ in server.asked} == {"/two.zip"}

def test_no_room(server, tmp_path):
    refused(lambda: fetch([File("a.zip", server.url + "/a.zip", 10 ** 18)], tmp_path), "free space", "Make room")
    assert server.asked == []

# the whole command

@pytest.fixture(scope="module")
def ham(tmp_path_factory): return write_ham10000(tmp_path_factory.mktemp("ham"), n=21)

def pictures(ham, folder, prefix=""): return archive(**{prefix + p.name: p.read_bytes() for p in sorted((ham / folder).iterdir())})

@pytest.fixture
def dataverse(server, ham):
    "The sample, offered as Harvard's Dataverse offers HAM10000: flat archives, and a table that was converted on arrival."
    table, files = (ham / "HAM10000_metadata.csv").read_bytes(), []
    for k, name in enumerate(WANTED[1:], 10):
        content = server.files[f"/api/access/datafile/{k}"] = pictures(ham, name)
        files.append(dict(dataFile=dict(id=k, filename=f"{name}.zip", filesize=len(content), md5=hashlib.md5(content).hexdigest())))
    server.files["/api/access/datafile/5?format=original"], server.files["/api/access/datafile/5"] = table, table.replace(b",", b"\t")
    files.append(dict(dataFile=dict(id=5, filename="HAM10000_metadata.tab", filesize=1, originalFileFormat="text/csv", originalFileName="HAM10000_metadata.csv",
                                    originalFileSize=len(table), md5=hashlib.md5(table).hexdigest())))
    server.files[f"/api/datasets/:persistentId/?persistentId=doi:{DOI}"] = json.dumps(dict(data=dict(latestVersion=dict(files=files)))).encode()
    return server

def test_ham10000(dataverse, ham, tmp_path, capsys):
    call = lambda: fetch_command(["ham10000", "--out", str(tmp_path / "set"), "--server", dataverse.url])
    assert call() == 0
    said = capsys.readouterr().out
    assert "CC BY-NC 4.0" in said and "Tschandl" in said and "21 images" in said and said.index("licence") < said.index("21 images")
    assert read_ham10000(tmp_path / "set").drop(columns="path").equals(read_ham10000(ham).drop(columns="path"))
    dataverse.asked.clear()
    assert call() == 0 and dataverse.asked == [] and "there already" in capsys.readouterr().out

def test_wrong_checksum_of_a_part(dataverse, tmp_path, capsys):
    dataverse.files["/api/access/datafile/10"] = archive(**{"ISIC_1.jpg": "other"})
    assert fetch_command(["ham10000", "--out", str(tmp_path / "set"), "--server", dataverse.url]) == 2
    assert "error: " in capsys.readouterr().err and not (tmp_path / "set" / "fetched.json").exists()

def test_problems_are_reported(dataverse, tmp_path, capsys):
    listing = json.loads(dataverse.files[(key := f"/api/datasets/:persistentId/?persistentId=doi:{DOI}")])
    one = next(f["dataFile"] for f in listing["data"]["latestVersion"]["files"] if f["dataFile"]["id"] == 10)
    content = dataverse.files["/api/access/datafile/10"] = archive(**{"ISIC_9.jpg": "no picture"})
    one |= dict(md5=hashlib.md5(content).hexdigest(), filesize=len(content))
    dataverse.files[key] = json.dumps(listing).encode()
    assert fetch_command(["ham10000", "--out", str(tmp_path / "set"), "--server", dataverse.url]) == 1
    said = capsys.readouterr().out
    assert "which has no file" in said and "skin_nb_check lists them all" in said

def test_no_dataverse_there(server, tmp_path, capsys):
    assert fetch_command(["ham10000", "--out", str(tmp_path), "--server", server.url]) == 2
    server.files[f"/api/datasets/:persistentId/?persistentId=doi:{DOI}"] = b"<html>"
    assert fetch_command(["ham10000", "--out", str(tmp_path), "--server", server.url]) == 2
    assert "isn't JSON" in capsys.readouterr().err

def test_kaggle(ham, tmp_path, monkeypatch, capsys):
    "Kaggle's client is a program on the path; without it, or without a token, the command says so."
    call = lambda: fetch_command(["ham10000", "--source", "kaggle", "--out", str(tmp_path / "set")])
    for name in "KAGGLE_USERNAME", "KAGGLE_KEY": monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "config")); monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert call() == 2 and "no such command" in capsys.readouterr().err
    content = {f"{f}/{p.name}": p.read_bytes() for f in WANTED[1:3] for p in (ham / f).iterdir()}
    (tmp_path / "all.zip").write_bytes(archive(**content, **{"HAM10000_metadata.csv": (ham / "HAM10000_metadata.csv").read_bytes(), "hmnist_8_8_L.csv": "1,2"}))
    (tmp_path / "bin").mkdir(); (tmp_path / "bin" / "kaggle").write_text(
        f"#!{sys.executable}\nimport shutil, sys\nshutil.copy({str(tmp_path / 'all.zip')!r}, sys.argv[sys.argv.index('-p') + 1] + '/skin-cancer-mnist-ham10000.zip')\n")
    (tmp_path / "bin" / "kaggle").chmod(0o755)
    assert call() == 2 and "no credentials" in capsys.readouterr().err
    monkeypatch.setenv("KAGGLE_USERNAME", "me"); monkeypatch.setenv("KAGGLE_KEY", "key")
    assert call() == 0 and len(read_ham10000(tmp_path / "set")) == 21
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == ["HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_metadata.csv", "fetched.json"]
