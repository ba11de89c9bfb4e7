"Pictures: what changes is decoded again; every still format; memory that has a bound."
import os
import struct
import subprocess
import sys
import time
import warnings
from unittest.mock import patch
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skin_nb import pictures
from skin_nb.pictures import (
    FORMATS, PICTURE_ENDINGS, UNREADABLE_ENDINGS, decode_images, is_picture, open_image)


def plain(value, size=(60, 45)):
    return Image.new("RGB", size, (value, value, value))


@pytest.fixture
def pair(tmp_path):
    "Two uncompressed pictures of one size in bytes, and their table."
    for name, value in dict(a=10, b=200).items():
        plain(value).save(tmp_path / f"{name}.bmp")
    paths = [str(tmp_path / f"{name}.bmp") for name in "ab"]
    return pd.DataFrame(dict(image_id=["a", "b"], path=paths))


def greys(table, tmp_path):
    "The grey of each picture as it comes out of the cache."
    return [int(im.mean()) for im in decode_images(table, 32, folder=tmp_path / "cache")]


def test_another_picture_under_the_same_name(pair, tmp_path):
    assert greys(pair, tmp_path) == [10, 200]
    size = os.path.getsize(pair.path[0])
    time.sleep(.02)
    plain(90).save(pair.path[0])
    assert os.path.getsize(pair.path[0]) == size
    assert greys(pair, tmp_path) == [90, 200]


def test_exchanged_pictures(pair, tmp_path):
    assert greys(pair, tmp_path) == [10, 200]
    os.rename(pair.path[0], tmp_path / "c.bmp")
    os.rename(pair.path[1], pair.path[0])
    os.rename(tmp_path / "c.bmp", pair.path[1])
    assert greys(pair, tmp_path) == [200, 10]


def test_a_date_put_back(pair, tmp_path):
    assert greys(pair, tmp_path) == [10, 200]
    before = os.stat(pair.path[0])
    time.sleep(.02)
    plain(90).save(pair.path[0])
    os.utime(pair.path[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(pair.path[0]).st_mtime_ns == before.st_mtime_ns
    assert greys(pair, tmp_path) == [90, 200]


def test_the_same_file_name_in_another_folder(pair, tmp_path):
    assert greys(pair, tmp_path) == [10, 200]
    (tmp_path / "other").mkdir()
    plain(90).save(tmp_path / "other" / "a.bmp")
    other = pair.assign(path=[str(tmp_path / "other" / "a.bmp"), pair.path[1]])
    assert greys(other, tmp_path) == [90, 200]


def test_unchanged_pictures_are_decoded_once(pair, tmp_path):
    assert greys(pair, tmp_path) == [10, 200]
    with patch.object(pictures, "read_pixels", side_effect=AssertionError):
        assert greys(pair, tmp_path) == [10, 200]


ENDINGS = dict(JPEG="jfif", PNG="apng", BMP="dib", TIFF="tif", WEBP="webp", GIF="gif", PPM="ppm",
               JPEG2000="jp2", AVIF="avif")


@pytest.mark.parametrize("name", FORMATS)
def test_every_still_format_is_read(tmp_path, name):
    file = tmp_path / f"a.{ENDINGS[name]}"
    plain(120).save(file, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GIF has a palette
        assert abs(np.asarray(open_image(file)).astype(int) - 120).max() <= 3
    assert is_picture(file) and file.suffix in PICTURE_ENDINGS
    os.rename(file, tmp_path / "no_ending")
    assert is_picture(tmp_path / "no_ending")


def test_no_ending_is_readable_and_not():
    assert not set(PICTURE_ENDINGS) & set(UNREADABLE_ENDINGS)
    assert {".heic", ".dcm", ".svg", ".psd", ".eps", ".cr2", ".dng"} < set(UNREADABLE_ENDINGS)
    assert all(text.endswith(".") for text in UNREADABLE_ENDINGS.values())


def test_postscript_starts_nothing(tmp_path):
    eps = tmp_path / "mole.jpg"
    Image.new("RGB", (40, 40)).save(eps, "EPS")
    with patch("subprocess.check_call", side_effect=AssertionError("a program was started")):
        assert not is_picture(eps)
        with pytest.raises(pictures.DataError, match="PostScript"):
            open_image(eps)


@pytest.mark.parametrize("order", "<>")
def test_sixteen_bits_in_either_order(tmp_path, order):
    "Microscopes write TIFF with the high byte first."
    ramp = np.linspace(0, 65535, 45 * 60).astype("uint16").reshape(45, 60)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, 9)
    facts = {256: 60, 257: 45, 258: 16, 259: 1, 262: 1, 273: 200, 277: 1, 278: 45, 279: ramp.nbytes}
    for tag, value in facts.items():
        head += struct.pack(order + "HHII", tag, 4, 1, value)
    stored = ramp.astype(ramp.dtype.newbyteorder(order)).tobytes()
    (tmp_path / "a.tif").write_bytes(head.ljust(200, b"\0") + stored)
    with pytest.warns(UserWarning, match="16-bit"):
        grey = np.asarray(open_image(tmp_path / "a.tif"))[..., 0]
    assert np.array_equal(grey, (ramp / 257).round())


DEEP = """
import resource
import sys
import numpy as np
from skin_nb.pictures import read_pixels
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert read_pixels(sys.argv[1], 64).max() == 233
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_large_deep_picture_takes_little_memory(tmp_path):
    "A 16-bit PNG of 36 million pixels is 72 MB of numbers; it used to take 900 MB."
    deep = Image.fromarray(np.full((6000, 6000), 60000, "uint16"))
    deep.save(tmp_path / "a.png", compress_level=1)
    call = [sys.executable, "-W", "ignore", "-c", DEEP, str(tmp_path / "a.png")]
    peak = int(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
    assert peak < 150  # MB


def test_large_pictures_take_turns(tmp_path):
    plain(120, (300, 200)).save(tmp_path / "a.png")
    with patch.object(pictures, "LARGE", 1000):
        small = open_image(tmp_path / "a.png", at_least=50)
    assert small.size == (75, 50) and small.getpixel((5, 5)) == (120, 120, 120)
    assert not pictures._LARGE_ONE.locked()
