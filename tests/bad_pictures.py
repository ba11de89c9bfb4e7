"Bad pictures: what isn't one, what is damaged, what is too large, and what takes another place."
import io
import os
import struct
import zlib
from functools import partial
from unittest.mock import patch
import numpy as np
import pandas as pd
from PIL import Image
from corpus import Bad
from skin_nb.pictures import decode_images, images_path, is_picture, most_pixels, open_image
from skin_nb.pixels import read_masks

PLAIN = np.random.default_rng(0).integers(0, 255, (45, 60, 3)).astype("uint8")
FRESH = "Put a fresh copy"


def encoded(kind, pixels=PLAIN, **options):
    "A picture as bytes of a format."
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def holding(name, content):
    "A maker for `Bad`: a file with these bytes is opened, and is no picture at first sight either."
    def make(folder):
        (folder / name).write_bytes(content)
        return partial(open_image, folder / name)
    return make


def cut(name, kind, keep=.5, **options):
    content = encoded(kind, **options)
    return holding(name, content[:int(len(content) * keep)])


# PNG by hand

def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *extra, pixels=b""):
    "A PNG of any claims."
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bomb():
    "Two megabytes of zeros in two kilobytes."
    return zlib.compress(bytes(2 << 20), 9)


def claiming(content, at, form, *values):
    "A file whose header says something else at a place."
    raw = bytearray(content)
    struct.pack_into(form, raw, at, *values)
    return bytes(raw)


JPEG = encoded("JPEG")
FRAME = JPEG.index(b"\xff\xc0") + 5  # height and width
BMP = encoded("BMP")


def float_tiff(folder):
    Image.new("F", (40, 40)).save(folder / "float.tif")
    return partial(open_image, folder / "float.tif")


def deep_tiff(folder):
    Image.fromarray(np.full((40, 40), 10 ** 6, "int32")).save(folder / "deep.tif")
    return partial(open_image, folder / "deep.tif")


def shallow_png(folder):
    "The values of a 12-bit camera, as they are, in a file of 16 bits."
    Image.fromarray(np.full((40, 40), 4000, "uint16")).save(folder / "deep.png")
    return partial(open_image, folder / "deep.png")


def float_map(folder):
    (folder / "a.pfm").write_bytes(b"Pf\n40 40\n-1.0\n" + bytes(6400))
    return partial(open_image, folder / "a.pfm")


# places

def pipe(folder):
    os.mkfifo(folder / "pipe.jpg")
    assert not is_picture(folder / "pipe.jpg")
    return partial(open_image, folder / "pipe.jpg")


def link_to_nothing(folder):
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    return partial(open_image, folder / "gone.jpg")


def link_to_itself(folder):
    (folder / "loop.jpg").symlink_to("loop.jpg")
    return partial(open_image, folder / "loop.jpg")


def a_folder(folder):
    (folder / "album.jpg").mkdir()
    return partial(open_image, folder / "album.jpg")


def not_allowed(folder):
    "What the system answers to everybody but the administrator."
    (folder / "secret.jpg").write_bytes(JPEG)
    def call():
        with patch("os.access", return_value=False):
            open_image(folder / "secret.jpg")
    return call


def refused_by_the_server(folder):
    "A disk on a network that says no only when a file is opened."
    (folder / "secret.jpg").write_bytes(JPEG)
    def call():
        error = PermissionError(13, "Permission denied", str(folder / "secret.jpg"))
        with patch("PIL.Image.open", side_effect=error):
            open_image(folder / "secret.jpg")
    return call


def misspelt_limit(folder):
    def call():
        with patch.dict(os.environ, SKIN_NB_MAX_PIXELS="many"):
            most_pixels()
    return call


# tables of pictures

def table_of(folder, **contents):
    "A table of pictures with these bytes."
    for name, content in contents.items():
        (folder / f"{name}.jpg").write_bytes(content)
    paths = [str(folder / f"{name}.jpg") for name in contents]
    return pd.DataFrame(dict(image_id=list(contents), path=paths))


def one_of_three(folder):
    table = table_of(folder, ISIC_1=JPEG, ISIC_2=JPEG[:400], ISIC_3=JPEG)
    return partial(decode_images, table, 32, folder=folder / "cache")


def deleted_after_reading(folder):
    table = table_of(folder, ISIC_1=JPEG, ISIC_2=JPEG)
    (folder / "ISIC_2.jpg").unlink()
    return partial(decode_images, table, 32, folder=folder / "cache")


def cache_in_a_file(folder):
    table = table_of(folder, ISIC_1=JPEG)
    (folder / "cache").write_text("")
    return partial(decode_images, table, 32, folder=folder / "cache")


def unknown_resize(folder):
    return partial(images_path, table_of(folder, ISIC_1=JPEG), 32, "stretch")


def no_room(folder):
    table = table_of(folder, ISIC_1=JPEG)
    def call():
        with patch("shutil.disk_usage") as usage:
            usage.return_value.free = 0
            decode_images(table, 32, folder=folder / "cache")
    return call


def mask(content):
    "A maker for `Bad`: a picture whose mask has these bytes."
    def make(folder):
        table = table_of(folder, ISIC_1=JPEG)
        masks = folder / "segmentations"
        masks.mkdir()
        (masks / "ISIC_1_segmentation.png").write_bytes(content)
        return partial(read_masks, table, 32)
    return make


def two_masks(folder):
    make = mask(encoded("PNG", PLAIN[..., 0]))
    call = make(folder)
    other = folder / "segmentations" / "corrected"
    other.mkdir()
    (other / "ISIC_1_segmentation.png").write_bytes(encoded("PNG", PLAIN[..., 1]))
    return call


PICTURES = [
    Bad("bad-picture-empty", holding("a.jpg", b""), ("a.jpg", "an empty file", FRESH)),
    Bad("bad-picture-page", holding("a.jpg", b"<html>Please log in</html>"), ("a web page", FRESH)),
    Bad("bad-picture-eps", holding("a.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        ("a.jpg", "PostScript (EPS)")),
    Bad("bad-picture-pdf", holding("a.png", b"%PDF-1.7\n"), ("a.png", "PDF")),
    Bad("bad-picture-svg", holding("a.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("SVG",)),
    Bad("bad-picture-zip", holding("a.jpg", b"PK\x03\x04" + bytes(50)), ("a zip archive",)),
    Bad("bad-picture-heic", holding("a.jpg", b"\0\0\0\x18ftypheic" + bytes(50)),
        ("HEIF", "Export it from the phone")),
    Bad("bad-picture-lfs", holding("a.jpg", b"version https://git-lfs.github.com/spec/v1\n"),
        ("a placeholder of Git LFS",)),
    Bad("bad-picture-zeros", holding("a.jpg", bytes(5000)), ("a file that is no picture",)),
    Bad("bad-picture-text", holding("a.bmp", b"BM is not a picture"), ("a.bmp", FRESH)),
    Bad("bad-picture-dicom", holding("a.jpg", bytes(128) + b"DICM" + bytes(99)), ("no picture",)),
    Bad("bad-picture-half-jpeg", cut("a.jpg", "JPEG"), ("a.jpg", "truncated or damaged")),
    Bad("bad-picture-half-png", cut("a.png", "PNG"), ("a.png", "truncated or damaged")),
    Bad("bad-picture-half-bmp", cut("a.bmp", "BMP"), ("a.bmp", "truncated or damaged")),
    Bad("bad-picture-half-tiff", cut("a.tif", "TIFF"), ("a.tif", FRESH)),
    Bad("bad-picture-half-webp", cut("a.webp", "WEBP"), ("a.webp", FRESH)),
    Bad("bad-picture-half-gif", holding("a.gif", encoded("GIF")[:900]), ("a.gif", FRESH)),
    Bad("bad-picture-half-jpeg2000", cut("a.jp2", "JPEG2000", .2), ("a.jp2", FRESH)),
    Bad("bad-picture-jpeg-without-middle",
        holding("a.jpg", claiming(JPEG, FRAME, ">HH", 9000, 9000)),
        ("a truncated picture", "9000 × 9000")),
    Bad("bad-picture-thumbnail", holding("a.png", encoded("PNG", PLAIN[:9, :12])),
        ("12 × 9 pixels", "from 16 to 20,000")),
    Bad("bad-picture-strip", holding("a.png", png(30_000, 20)),
        ("30000 × 20 pixels", "SKIN_NB_MAX_PIXELS=NUMBER")),
    Bad("bad-picture-many-pixels", holding("a.png", png(12_000, 9_000)),
        ("12000 × 9000 pixels", "SKIN_NB_MAX_PIXELS=NUMBER")),
    Bad("bad-picture-absurd-png", holding("a.png", png(10 ** 6, 10 ** 6)), ("absurd size",)),
    Bad("bad-picture-absurd-bmp", holding("a.bmp", claiming(BMP, 18, "<ii", 2 ** 31 - 1, 2 ** 30)),
        ("absurd size",)),
    Bad("bad-picture-text-bomb", holding("a.png", png(40, 40, chunk(b"zTXt", b"a\0\0" + bomb()))),
        ("a.png", "too large")),
    Bad("bad-picture-profile-bomb", holding(
        "a.png", png(40, 40, chunk(b"iCCP", b"a\0\0" + bomb()))), ("a.png", "too large")),
    Bad("bad-picture-no-pixels", holding("a.png", png(40, 40)), ("a.png", FRESH)),
    Bad("bad-picture-no-size", holding("a.png", png(0, 0)), ("a.png", FRESH)),
    Bad("bad-picture-float-tiff", float_tiff, ("floating-point pixels", "Scale it to 8 bits")),
    Bad("bad-picture-float-map", float_map, ("a.pfm", "floating-point pixels")),
    Bad("bad-picture-32-bit", deep_tiff, ("pixels of 32 bits", "Scale it to 8 bits")),
    Bad("bad-picture-12-of-16-bits", shallow_png, ("none above 4,000", "Scale it to 8 bits")),
    Bad("bad-picture-pipe", pipe, ("pipe.jpg", "a pipe, a socket or a device")),
    Bad("bad-picture-link-to-nothing", link_to_nothing, ("gone.jpg", "a link to nothing")),
    Bad("bad-picture-link-to-itself", link_to_itself, ("loop.jpg", "symbolic links")),
    Bad("bad-picture-folder", a_folder, ("album.jpg", "a folder")),
    Bad("bad-picture-not-allowed", not_allowed, ("secret.jpg", "may not be read")),
    Bad("bad-picture-refused", refused_by_the_server, ("secret.jpg", "permission denied")),
    Bad("bad-picture-missing", lambda folder: partial(open_image, folder / "a.jpg"),
        ("no such file", "Copy the file there")),
    Bad("bad-picture-nul-in-path", lambda folder: partial(open_image, "a\0.jpg"), ("a\\x00.jpg",)),
    Bad("bad-picture-limit-misspelt", misspelt_limit, ("SKIN_NB_MAX_PIXELS", "'many'")),
    Bad("bad-pictures-one-of-three", one_of_three, ("row ISIC_2", "truncated or damaged")),
    Bad("bad-pictures-deleted", deleted_after_reading, ("row ISIC_2", "no such file")),
    Bad("bad-pictures-cache-is-a-file", cache_in_a_file, ("{folder}/cache", "SKIN_NB_CACHE")),
    Bad("bad-pictures-unknown-resize", unknown_resize, ("'stretch'", "squash or crop")),
    Bad("bad-pictures-no-room", no_room, ("free space", "SKIN_NB_CACHE")),
    Bad("bad-mask-damaged", mask(encoded("PNG")[:99]), ("ISIC_1_segmentation.png",)),
    Bad("bad-mask-eps", mask(b"%!PS-Adobe-3.0 EPSF-3.0\n"), ("ISIC_1_segmentation.png",)),
    Bad("bad-masks-two", two_masks, ("two masks", "ISIC_1")),
]
