"Bad archives, listings, servers and folders for what is fetched."
import http.server
import io
import json
import os
import stat
import struct
import threading
import zipfile
from functools import partial
from types import SimpleNamespace
from unittest.mock import patch
from corpus import Bad, by_command
from skin_nb import fetch
from skin_nb.evaluation import write_submission
from skin_nb.fetch import DOI, ISIC_GROUP_COLUMNS, ISIC_GROUPS, WANTED, File, fetch_command
from skin_nb.predictions import invent_predictions, read_predictions, write_predictions

LISTING = f"/api/datasets/:persistentId/?persistentId=doi:{DOI}"


# archives

def write_zip(path, members, method=zipfile.ZIP_STORED):
    "An archive of (name or ZipInfo, content) pairs."
    with zipfile.ZipFile(path, "w", method) as z:
        for name, content in members:
            z.writestr(name, content)
    return path


def unpacking(members, method=zipfile.ZIP_STORED, **environment):
    "A maker for `Bad`: unpack an archive of these members."
    def make(folder):
        archive = write_zip(folder / "bad.zip", members, method)
        return partial(unpack_under, archive, folder / "out" / "bad", environment)
    return make


def unpack_under(archive, target, environment):
    with patch.dict(os.environ, environment):
        fetch.unpack(archive, target)



def unpacking_bytes(content):
    def make(folder):
        (folder / "bad.zip").write_bytes(content)
        return partial(unpack_under, folder / "bad.zip", folder / "out" / "bad", {})
    return make


def zip_bytes(*members, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    write_zip(file, members, method)
    return file.getvalue()


def special(name, mode):
    "The entry of something that is no file."
    info = zipfile.ZipInfo(name)
    info.external_attr = (mode | 0o644) << 16
    return info


def patched(content, signature, offset, value):
    "An archive with two bytes changed in every header of a kind."
    raw = bytearray(content)
    at = raw.find(signature)
    while at >= 0:
        raw[at + offset:at + offset + 2] = struct.pack("<H", value)
        at = raw.find(signature, at + 4)
    return bytes(raw)


def in_headers(content, local, central, value):
    "The same field changed in the local headers and in the table of contents."
    changed = patched(content, b"PK\x03\x04", local, value)
    return patched(changed, b"PK\x01\x02", central, value)


GOOD = zip_bytes(("a.txt", "A" * 1000), ("b.txt", "B"))
ENCRYPTED = in_headers(GOOD, 6, 8, 1)
UNKNOWN_METHOD = in_headers(GOOD, 8, 10, 77)
FLIPPED = GOOD.replace(b"AAAA", b"AABA", 1)
DEFLATED = bytearray(zip_bytes(("a.txt", os.urandom(500) * 3), method=zipfile.ZIP_DEFLATED))
DEFLATED[60:90] = b"\xff" * 30


def pipe_in_place_of_archive(folder):
    os.mkfifo(folder / "bad.zip")
    return partial(unpack_under, folder / "bad.zip", folder / "bad", {})


ZIPS = [
    Bad("bad-zip-parent", unpacking([("a.txt", "A"), ("../evil.txt", "E")]),
        ("bad.zip", "leads out of the folder", "../evil.txt")),
    Bad("bad-zip-absolute", unpacking([("/tmp/evil.txt", "E")]), ("bad.zip", "an absolute path")),
    Bad("bad-zip-drive", unpacking([("C:/evil.txt", "E")]), ("bad.zip", "an absolute path")),
    Bad("bad-zip-backslash", unpacking([("a\\..\\..\\evil.txt", "E")]),
        ("leads out of the folder",)),
    Bad("bad-zip-stream-of-windows", unpacking([("a/b.txt:evil", "E")]),
        ("a path in place of a name",)),
    Bad("bad-zip-device-of-windows", unpacking([("a/NUL.txt", "E")]), ("Windows reserves",)),
    Bad("bad-zip-escape-bytes", unpacking([("a\x1b[2J.txt", "E")]),
        ("special characters", "a\\x1b[2J.txt")),
    Bad("bad-zip-link", unpacking([(special("link", stat.S_IFLNK), "/etc/passwd")]),
        ("a link: link",)),
    Bad("bad-zip-device", unpacking([(special("tty", stat.S_IFCHR), "")]),
        ("a device or a pipe: tty",)),
    Bad("bad-zip-capitals-clash", unpacking([("Mole.jpg", "A"), ("mole.jpg", "B")]),
        ("two members that are one file", "Mole.jpg, mole.jpg")),
    Bad("bad-zip-unicode-clash", unpacking([("Gesa\u0308ss.jpg", "A"), ("Ges\u00e4ss.jpg", "B")]),
        ("two members that are one file",)),
    Bad("bad-zip-prefix-clash", unpacking([("bad/a.jpg", "A"), ("a.jpg", "B")]),
        ("two members that are one file",)),
    Bad("bad-zip-file-and-folder", unpacking([("a", "A"), ("a/b.jpg", "B")]),
        ("a file and a folder: a",)),
    Bad("bad-zip-long-name", unpacking([("x" * 240 + ".jpg", "A")]), ("more than 200 bytes",)),
    Bad("bad-zip-deep", unpacking([("d/" * 30 + "a.jpg", "A")]), ("a path that is too long",)),
    Bad("bad-zip-encrypted", unpacking_bytes(ENCRYPTED), ("an encrypted member: a.txt",)),
    Bad("bad-zip-unknown-compression", unpacking_bytes(UNKNOWN_METHOD), ("bad.zip", "compression")),
    Bad("bad-zip-flipped-byte", unpacking_bytes(FLIPPED), ("bad.zip", "damaged", "CRC")),
    Bad("bad-zip-damaged-stream", unpacking_bytes(bytes(DEFLATED)), ("bad.zip", "damaged")),
    Bad("bad-zip-cut-short", unpacking_bytes(GOOD[:-30]), ("bad.zip", "Run the command again")),
    Bad("bad-zip-empty", unpacking_bytes(b""), ("bad.zip", "no archive")),
    Bad("bad-zip-login-page", unpacking_bytes(b"<html>Please log in"), ("bad.zip", "no archive")),
    Bad("bad-zip-too-large", unpacking([("a.bin", bytes(50_000))], zipfile.ZIP_DEFLATED,
                                       SKIN_NB_MAX_GB="0.00001"),
        ("bad.zip", "SKIN_NB_MAX_GB=NUMBER allows more")),
    Bad("bad-zip-limit-misspelt", unpacking([("a.bin", "A")], SKIN_NB_MAX_GB="lots"),
        ("SKIN_NB_MAX_GB", "'lots'", "a number of gigabytes")),
    Bad("bad-zip-pipe", pipe_in_place_of_archive, ("bad.zip", "a pipe")),
]


def bomb(folder):
    "A kilobyte that unpacks to a few hundred gigabytes, if one believes its table of contents."
    content = zip_bytes(*[(f"{k}.bin", bytes(100)) for k in range(99)], method=zipfile.ZIP_DEFLATED)
    raw = bytearray(content)
    at = raw.find(b"PK\x01\x02")
    while at >= 0:
        raw[at + 24:at + 28] = struct.pack("<I", 2 ** 32 - 2)
        at = raw.find(b"PK\x01\x02", at + 4)
    (folder / "bad.zip").write_bytes(raw)
    return partial(unpack_under, folder / "bad.zip", folder / "out" / "bad", {})


def no_room_to_unpack(folder):
    archive = write_zip(folder / "bad.zip", [("a.txt", "A")])
    def call():
        with patch("shutil.disk_usage", return_value=SimpleNamespace(free=0)):
            fetch.unpack(archive, folder / "out")
    return call


ZIPS += [Bad("bad-zip-bomb", bomb, ("bad.zip", "an archive that unpacks to 425.2 GB")),
         Bad("bad-zip-no-room", no_room_to_unpack, ("free space", "Make room"))]


# servers

class Answers(http.server.BaseHTTPRequestHandler):
    "Answers of a server: path -> (status, headers, body), or a function of the handler."
    answers = {}

    def log_message(self, *args):
        pass

    def do_GET(self):
        answer = self.answers.get(self.path, (404, {}, b""))
        if callable(answer):
            return answer(self)
        status, headers, body = answer
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET


HERE = []


def here():
    "The address of the one server of all cases."
    if not HERE:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        server.daemon_threads = True
        how = dict(poll_interval=.02)
        threading.Thread(target=server.serve_forever, kwargs=how, daemon=True).start()
        HERE.append(f"http://127.0.0.1:{server.server_address[1]}")
    return HERE[0]


def offer(path, body, status=200, **headers):
    Answers.answers[path] = (status, {k.replace("_", "-"): v for k, v in headers.items()}, body)
    return here() + path


def fetching(file, patches=()):
    "A maker for `Bad`: fetch one file, which `file` describes once the server runs."
    def make(folder):
        (folder / "set").mkdir()
        (folder / "set" / "notes.txt").write_text("mine")
        described = file()
        def call():
            with patch.dict(vars(fetch), dict(patches)):
                fetch.fetch([described], folder / "set")
        return call
    return make


def login_page():
    return File(ISIC_GROUPS, offer("/login.csv", b"<!DOCTYPE html><title>Please log in</title>"),
                columns=ISIC_GROUP_COLUMNS)


def declared_page():
    return File("a.bin", offer("/page", b"<html>", Content_Type="text/html; charset=utf-8"))


def sent_to_login():
    offer("/sso/login?next=a", b"who are you?", Content_Type="application/octet-stream")
    url = offer("/moved.zip", b"", 302, Location="/sso/login?next=a")
    return File("a.zip", url)


def page_as_archive():
    return File("a.zip", offer("/a.zip", b"<html>Please log in</html>"))


def other_size():
    return File("a.bin", offer("/short.bin", b"x" * 10), 1000)


def other_checksum():
    return File("a.bin", offer("/sum.bin", b"x" * 10), 10, "0" * 32)


def dripping():
    "A server that never stops, a byte at a time."
    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x")
                threading.Event().wait(.005)
        except OSError:
            pass
    Answers.answers["/drip"] = drip
    return File("a.bin", here() + "/drip")


def traversing():
    return File("../../evil.txt", offer("/evil", b"x"))


def hidden():
    return File(".bashrc", offer("/rc", b"x"))


SERVERS = [
    Bad("bad-server-login-page", fetching(login_page),
        (ISIC_GROUPS, "Please log in", "It isn't kept")),
    Bad("bad-server-says-html", fetching(declared_page), ("a web page", "in a browser")),
    Bad("bad-server-sends-to-login", fetching(sent_to_login), ("a web page", "/sso/login")),
    Bad("bad-server-page-for-archive", fetching(page_as_archive),
        ("a.zip", "expected a zip archive")),
    Bad("bad-server-other-size", fetching(other_size), ("10 bytes", "1,000 bytes")),
    Bad("bad-server-other-checksum", fetching(other_checksum), ("another checksum", "0" * 32)),
    Bad("bad-server-drips", fetching(dripping, [("PATIENCE", .05)]), ("1,000 bytes a second",)),
    Bad("bad-server-name-with-path", fetching(traversing), ("a path in place of a name",)),
    Bad("bad-server-hidden-name", fetching(hidden), ("a hidden file: /.bashrc",)),
]


# listings

def entry(number, stem, **more):
    facts = dict(id=number, filename=f"{stem}.zip", filesize=10, md5="0" * 32)
    return dict(dataFile=facts | more)


def entries(**odd):
    "The four files that are needed; the first is odd."
    first = dict(filename=f"{WANTED[0]}.csv") | odd
    return [entry(0, WANTED[0], **first), *[entry(k, name) for k, name in enumerate(WANTED[1:], 1)]]


def listing(content):
    "A maker for `Bad`: the command meets a server with this listing."
    def make(folder):
        base = f"/{folder.name}"
        whole = content if isinstance(content, bytes) else json.dumps(content).encode()
        server = offer(base + LISTING, whole).removesuffix(LISTING)
        return by_command(fetch_command, "ham10000", "--out", folder / "set", "--server", server)
    return make


def files(*these):
    return listing(dict(data=dict(latestVersion=dict(files=list(these)))))


TABLE = f"in the entry of {WANTED[0]}.csv"
LISTINGS = [
    Bad("bad-listing-no-json", listing(b"<html>log in</html>"), ("isn't JSON", "Check --server")),
    Bad("bad-listing-nested", listing(b"[" * 100_000), ("isn't JSON",)),
    Bad("bad-listing-a-list", listing([1, 2]), ("another form",)),
    Bad("bad-listing-null", listing(None), ("another form",)),
    Bad("bad-listing-entries-are-text", files("a", "b"), ("another form",)),
    Bad("bad-listing-no-names", files(dict(dataFile=dict(id=1))), ("another form",)),
    Bad("bad-listing-misses-a-file", files(*entries()[:3]), ("no HAM10000_segm", "by hand")),
    Bad("bad-listing-twice", files(*entries(), *entries()), ("2 files called HAM10000_metadata",)),
    Bad("bad-listing-id-is-a-path", files(*entries(id="5/../admin")), (TABLE, "an id of")),
    Bad("bad-listing-no-id", files(*entries(id=None)), (TABLE, "an id of None")),
    Bad("bad-listing-negative-size", files(*entries(filesize=-5)), (TABLE, "a size of -5")),
    Bad("bad-listing-size-is-text", files(*entries(filesize="10")), (TABLE, "a size of '10'")),
    Bad("bad-listing-md5-is-a-number", files(*entries(md5=17)), (TABLE, "an MD5 of 17")),
    Bad("bad-listing-name-with-path", files(*entries(filename=f"../../{WANTED[0]}.csv")),
        ("a path in place of a name",)),
    Bad("bad-listing-name-is-a-number", files(*entries(filename=7)), (f"no {WANTED[0]}",)),
]


# folders

def command(prepare, name="ham10000", out="set"):
    "A maker for `Bad`: the command with a folder that somebody has prepared."
    def make(folder):
        (folder / "set").mkdir()
        prepare(folder / "set")
        server = "http://127.0.0.1:9"
        return by_command(fetch_command, name, "--out", folder / out, "--server", server)
    return make


def holding(name, text):
    return lambda folder: (folder / name).write_text(text)


def link_to_nothing(folder):
    (folder / "fetched.json").symlink_to("nowhere")


def table_in_the_way(folder):
    (folder / "set").mkdir()
    (folder / "set" / ISIC_GROUPS).write_text("my,notes\n1,2\n")
    file = File(ISIC_GROUPS, offer("/mine.csv", b"image\n"), columns=ISIC_GROUP_COLUMNS)
    return partial(fetch.fetch, [file], folder / "set")


FOLDERS = [
    Bad("bad-out-is-a-file", command(holding("f", ""), out="set/f"),
        ("set/f", "found a file", "--out")),
    Bad("bad-out-below-a-file", command(holding("f", ""), out="set/f/g"), ("set/f/g", "choose")),
    Bad("bad-out-holds-other-things", command(holding("holiday.jpg", "")),
        ("such as holiday.jpg", "Name a new folder")),
    Bad("bad-stamp-is-a-list", command(holding("fetched.json", "[1, 2]")), ("another form",)),
    Bad("bad-stamp-of-numbers", command(holding("fetched.json", '{"a": 1}')), ("another form",)),
    Bad("bad-stamp-broken", command(holding("fetched.json", "{")),
        ("broken JSON", "Delete the file")),
    Bad("bad-stamp-of-another-set", command(holding("fetched.json", '{"ISIC2018_a.zip": {}}')),
        ("another data set", "expected ham10000")),
    Bad("bad-stamp-link-to-nothing", command(link_to_nothing), ("a link to nothing", "Delete it")),
    Bad("bad-out-table-in-the-way", table_in_the_way, (ISIC_GROUPS, "my,notes", "Move it away")),
    Bad("bad-server-no-address", lambda folder: by_command(
        fetch_command, "ham10000", "--out", folder / "x", "--server", "harvard"),
        ("no web address",)),
    Bad("bad-server-not-there", command(lambda folder: None), ("Check the connection",)),
]

# what is written, and may be opened with a spreadsheet

def predictions_with(**cells):
    "Predictions of which the fourth row is odd."
    table = invent_predictions(20).astype(dict.fromkeys(cells, object))
    table.loc[3, list(cells)] = list(cells.values())
    return table


def writing(write, name, **cells):
    "A maker for `Bad`: predictions are written to a file."
    def make(folder):
        return partial(write, folder / name, predictions_with(**cells))
    return make


def submit(path, predictions):
    write_submission(predictions, path)


def reading(text):
    "A maker for `Bad`: a table of predictions as somebody's program left it."
    def make(folder):
        if text is None:
            os.mkfifo(folder / "p.csv")
        else:
            (folder / "p.csv").write_bytes(text)
        return partial(read_predictions, folder / "p.csv")
    return make


HEAD = b"image_id,lesion_id,dx,p_other,p_mel,split,fold\n"
ROW = b"ISIC_1,L1,mel,.4,.6,test,0\n"
NO_FORMULA = "a name that is no formula"
OUTPUT = [
    Bad("bad-prediction-formula", writing(write_predictions, "p.csv", image_id="=1+1"),
        ("p.csv, row 5", "image_id = =1+1", NO_FORMULA, "Correct the table")),
    Bad("bad-prediction-formula-in-lesion",
        writing(write_predictions, "p.csv", lesion_id="@SUM(A1)"),
        ("row 5", NO_FORMULA)),
    Bad("bad-prediction-tab", writing(write_predictions, "p.csv", image_id="\t=1"),
        ("row 5", NO_FORMULA)),
    Bad("bad-submission-formula", writing(submit, "submission.csv", image_id="=cmd|' /C calc'!A0"),
        ("row 5", NO_FORMULA)),
    Bad("bad-predictions-pipe", reading(None), ("p.csv", "a pipe")),
    Bad("bad-predictions-no-text", reading(b"\xff\xfe\0\0" * 20), ("p.csv", "UTF-16")),
    Bad("bad-predictions-cell-too-many", reading(HEAD + ROW + ROW.replace(b"L1", b"L1,L2")),
        ("p.csv, row 3", "8 cells")),
    Bad("bad-submission-wide-formula", writing(submit, "submission.csv", image_id=" \uff1d1+1"),
        ("row 5", NO_FORMULA)),
    Bad("bad-predictions-fold", reading(HEAD + ROW + ROW.replace(b",0\n", b",1e30\n")),
        ("p.csv, row 3", "a whole number")),
    Bad("bad-predictions-infinite", reading(HEAD + ROW.replace(b".6", b"inf")),
        ("p.csv, row 2", "p_mel = inf")),
]

ARCHIVES = [*ZIPS, *SERVERS, *LISTINGS, *FOLDERS, *OUTPUT]
