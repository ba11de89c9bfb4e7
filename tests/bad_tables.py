"Bad tables, folders and files that describe them."
import json
import os
from functools import partial
import pandas as pd
from corpus import Bad
from PIL import Image
from skin_nb.own_data import read_folder, write_suggestion
from skin_nb.readers import find_problems, read_any, read_isic2018
from skin_nb.core import DataError
from skin_nb.tables import TABLE_COLUMNS

CLASSES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]


def save(path, colour=100, size=(24, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, 90, 80)).save(path)


def rows(n=7):
    return pd.DataFrame([(f"L{i}", f"I{i}", CLASSES[i % 7], "histo", "50", "male", "back")
                         for i in range(n)], columns=TABLE_COLUMNS)


def ham(folder, change=None, n=7, raw=None, pictures=None):
    "A small HAM10000, its table changed as asked; a function that reads it."
    table = rows(n)
    if change:
        table = change(table)
    file = folder / "HAM10000_metadata.csv"
    if raw is None:
        table.to_csv(file, index=False)
    else:
        file.write_bytes(raw(table.to_csv(index=False)))
    for i in range(n if pictures is None else pictures):
        save(folder / "images" / f"I{i}.jpg", 30 * i)
    return partial(read_any, folder)


def table_case(name, change, *says, **how):
    return Bad(f"bad_table_{name}", partial(ham, change=change, **how), says)


def raw_case(name, raw, *says):
    return Bad(f"bad_csv_{name}", partial(ham, raw=raw), ("HAM10000_metadata.csv", *says))


def set_cell(row, column, value):
    def change(table):
        table.loc[row, column] = value
        return table
    return change


def replaced(old, new):
    return lambda text: text.replace(old, new, 1).encode()


TABLES = [
    table_case(
        "class", set_cell(2, "dx", "wart"), "row 4", "'wart'", '{"classes": {"wart": null}}'
    ),
    table_case("class_everywhere", lambda t: t.assign(dx="wart"), "row 2 and 39 more", n=40),
    table_case("classes_by_the_dozen", lambda t: t.assign(dx=t.image_id), "40 other words", n=40),
    table_case("no_class", set_cell(2, "dx", ""), "row 4", "class ''"),
    table_case("age", set_cell(3, "age", "-5"), "row 5", "0 to 120"),
    table_case("ages_everywhere", lambda t: t.assign(age="old"), "row 2 and 39 more", n=40),
    table_case("sex", set_cell(3, "sex", "x"), "row 5", '{"sexes": {"x": "female"}}'),
    table_case("no_image", set_cell(1, "image_id", ""), "row 3", "no image_id"),
    table_case("image_twice", set_cell(1, "image_id", "I0"), "row 3", "a second time"),
    table_case("no_lesion", set_cell(1, "lesion_id", ""), "row 3", "no lesion_id"),
    table_case(
        "no_column", lambda t: t.drop(columns=["age"]), "row 1", "no column age", "--suggest"
    ),
    table_case("formula", set_cell(1, "image_id", "=HYPERLINK(1)"), "row 3", "spreadsheet"),
    table_case("at", set_cell(1, "image_id", "@sum"), "row 3", "Rename"),
    table_case("escape", set_cell(1, "image_id", "a\x1b[2Jb"), "row 3", r"\x1b"),
    table_case(
        "no_file", set_cell(1, "image_id", "other"), "row 3", "has no file", "Copy the file"
    ),
    table_case(
        "names_differ",
        lambda t: t.assign(image_id="x" + t.image_id),
        "40 of 40 rows",
        "40 pictures without a row",
        "Nothing has to be deleted",
        n=40,
    ),
    table_case("no_pictures", None, "no picture", "Unpack", pictures=0),
    table_case("picture_without_row", lambda t: t.iloc[1:], "I0.jpg", "Add the row"),
    table_case("one_file_for_two", set_cell(1, "image_id", "i0"), "row 3", "another row has too"),
    raw_case("empty", lambda text: b"", "empty file"),
    raw_case("header_only", lambda text: text.splitlines()[0].encode(), "empty table"),
    raw_case("open_quote", replaced("L3", '"L3'), "row 5", "never closed"),
    raw_case("quote_inside", replaced("L3", '"L"3'), "row 5", "behind a closing quotation mark"),
    raw_case(
        "hidden_rows",
        lambda text: text.replace("L3", '"L3').replace("vasc", 'va"').encode(),
        "row 5",
    ),
    raw_case("long_cell", replaced("L3", "x" * 200_000), "row 5", "131,072 characters"),
    raw_case("nul", replaced("L3", "L\0"), "row 5", "NUL"),
    raw_case(
        "latin1", lambda text: text.replace("back", "Gesäß").encode("latin-1"), "row 2", "UTF-8"
    ),
    raw_case("utf16", lambda text: text.encode("utf-16"), "UTF-16", "CSV UTF-8"),
    raw_case(
        "latin1_of_old_macs",
        lambda text: text.replace("L3", "Gesäß").replace("\n", "\r").encode("latin-1"),
        "row 5",
        "UTF-8",
    ),
    raw_case("utf16_unmarked", lambda text: text.encode("utf-16-le"), "UTF-16", "CSV UTF-8"),
    raw_case(
        "lines_between_quotes",
        lambda text: "".join(f'"{line}"\n' for line in text.splitlines()).encode(),
        "row 1",
        "one cell between quotation marks",
    ),
    raw_case("open_quote_after_blank", replaced("L3,", 'L3, "'), "row 5", "never closed"),
    raw_case("workbook", lambda text: b"PK\x03\x04" + bytes(50), "an Excel workbook"),
    raw_case("login_page", lambda text: b"<!DOCTYPE html><p>Log in</p>", "a web page"),
    raw_case("git_lfs", lambda text: b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    raw_case("gzip", lambda text: b"\x1f\x8b" + bytes(50), "gzip"),
    raw_case("column_twice", replaced(",age,", ",dx,"), "row 1", "the column dx twice"),
    raw_case("cell_too_many", replaced("L3", "L3,"), "row 5", "8 cells"),
    raw_case(
        "comment_above",
        lambda text: b"# exported today\n" + text.encode(),
        "row 1",
        "a first line of 1 and rows of 7",
    ),
    raw_case(
        "header_again",
        lambda text: (text + text.replace("I", "J").splitlines()[0]).encode(),
        "row 9",
        "the header again",
    ),
    raw_case(
        "cells_missing",
        lambda text: text.replace(",back", "").encode(),
        "row 1",
        "of 7 and rows of 6 cells",
    ),
    raw_case("binary", lambda text: bytes(range(1, 256)) * 9, "isn't UTF-8"),
]


def folder_case(name, make, *says):
    return Bad(f"bad_folder_{name}", make, says)


def sorted_pictures(folder, *names):
    for i, name in enumerate(names):
        save(folder / name, 20 * i)
    return partial(read_any, folder)


def with_file(folder, name, content, *names):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    return sorted_pictures(folder, *names)


TRUTH = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"


def with_pipe(folder):
    os.mkfifo(folder / "HAM10000_metadata.csv")
    return sorted_pictures(folder, "a.jpg")


def with_lost_link(folder):
    (folder / "nv").mkdir()
    (folder / "nv" / "c.jpg").symlink_to("nowhere")
    return sorted_pictures(folder, "nv/a.jpg", "mel/b.jpg")


def two_truths(folder):
    for part in "Training", "Test":
        (folder / f"ISIC2018_Task3_{part}_GroundTruth.csv").write_text(TRUTH + "a,1,0,0,0,0,0,0\n")
    return sorted_pictures(folder, "a.jpg")


def unlike_copies(folder):
    ham(folder)
    save(folder / "more" / "I0.jpg", 250)
    return partial(read_any, folder)


def two_tables(folder):
    ham(folder)
    rows().iloc[::-1].to_csv(folder / "HAM10000_metadata.tab", sep="\t", index=False)
    return partial(read_any, folder)


def two_diagnoses(folder):
    ham(folder, set_cell(1, "lesion_id", "L0"))

    def check():
        raise DataError(*find_problems(folder))
    return check


def torn_groupings(folder):
    (folder / "LesionGroupings.csv").write_text("image,lesion_id\na,L1\nA.jpg,L2\n")
    with_file(folder, "truth.csv", TRUTH + "a,1,0,0,0,0,0,0\n", "a.jpg")
    return partial(read_isic2018, folder)


def other_groupings(folder):
    (folder / "LesionGroupings.csv").write_text("image,lesion_id\nb,L1\n")
    with_file(folder, "training.csv", TRUTH + "a,1,0,0,0,0,0,0\n", "a.jpg")
    return partial(read_isic2018, folder)


def guesses(folder):
    with_file(folder, "truth.csv", TRUTH + "a,.4,.1,.1,.1,.1,.1,.1\n", "a.jpg")
    return partial(read_isic2018, folder)


def splits(folder):
    call = ham(folder)
    (folder / "HAM10000_metadata.csv").rename(folder / "train.csv")
    rows()[:3].to_csv(folder / "val.csv", index=False)
    return call


def two_sizes(folder):
    ham(folder)
    for i in range(7):
        save(folder / "small" / f"I{i}.jpg", 30 * i, (20, 20))
    return partial(read_any, folder)


def lost_groupings(folder):
    (folder / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text("<html>Log in</html>")
    with_file(folder, "truth.csv", TRUTH + "a,1,0,0,0,0,0,0\n", "a.jpg")
    return partial(read_isic2018, folder)


def beside_isic2019(folder):
    truth = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\na,1,0,0,0,0,0,0,0,0\n"
    (folder / "ISIC_2019_Training_Metadata.csv").write_text("<html>Log in</html>")
    return with_file(folder, "ISIC_2019_Training_GroundTruth.csv", truth, "a.jpg")


def table_below(folder):
    call = ham(folder)
    (folder / "meta").mkdir()
    (folder / "HAM10000_metadata.csv").rename(folder / "meta" / "HAM10000_metadata.csv")
    return call


def no_picture_without_table(folder):
    with_file(folder, "nv/x.jpg", "x", "nv/a.jpg", "mel/b.jpg")

    def check():
        raise DataError(*find_problems(folder))
    return check


def pages_for_pictures(folder):
    ham(folder, n=40)
    for path in (folder / "images").iterdir():
        path.write_text(f"<html>{path.name}")

    def check():
        raise DataError(*find_problems(folder))
    return check


def second_suggestion(folder):
    own(folder, {})
    return partial(write_suggestion, folder)


def many_diagnoses(folder):
    names = [f"p{i}.jpg" for i in range(110)]
    pd.DataFrame(dict(file=names, diagnosis=names)).to_csv(folder / "t.csv", index=False)
    sorted_pictures(folder, *names)
    return partial(write_suggestion, folder)


def packed_part(folder):
    read = ham(folder)
    (folder / "images" / "I0.jpg").unlink()
    (folder / "part_2.zip").write_text("x")
    return read


def dicom_beside_table(folder):
    "All pictures are there, and none is read: nobody has to unpack anything."
    read = ham(folder)
    for file in (folder / "images").iterdir():
        file.rename(file.with_suffix(".dcm"))
    assert len(find_problems(folder)) == 1
    return read


def suggestion(folder):
    sorted_pictures(folder, "a.jpg", "b.jpg")
    return partial(write_suggestion, folder)


TABLES += [
    folder_case("missing", lambda f: partial(read_any, f / "nowhere"), "nowhere", "no such folder"),
    folder_case(
        "file", lambda f: [save(f / "a.jpg"), partial(read_any, f / "a.jpg")][1], "a.jpg", "a file"
    ),
    folder_case("empty", lambda f: partial(read_any, f), "{folder}", "no picture"),
    folder_case(
        "pictures_only",
        lambda f: sorted_pictures(f, "a.jpg", "b.png"),
        "2 pictures without a label",
    ),
    folder_case(
        "archives", lambda f: with_file(f, "images.zip", "x"), "archives and no picture", "Unpack"
    ),
    folder_case(
        "hmnist",
        lambda f: with_file(f, "hmnist_28_28_L.csv", "pixel0000,label\n1,2\n", "a.jpg"),
        "hmnist_28_28_L.csv",
        "no ids",
    ),
    folder_case(
        "workbook",
        lambda f: with_file(f, "PH2_dataset.xlsx", "x", "a.jpg"),
        "PH2_dataset.xlsx",
        "CSV UTF-8",
    ),
    folder_case(
        "foreign_table",
        lambda f: with_file(f, "metadata.csv", "isic_id,diagnosis_1\na,Benign\n", "a.jpg"),
        "metadata.csv",
        "isic_id",
        "--suggest",
    ),
    folder_case(
        "conflict",
        lambda f: with_file(
            f, "answers/truth.csv", TRUTH + "a,1,0,0,0,0,0,0\n", "nv/a.jpg", "mel/b.jpg"
        ),
        "isic2018, folders",
        "--layout",
    ),
    folder_case(
        "two_parts",
        lambda f: sorted_pictures(
            f, "train/nv/a.jpg", "train/mel/b.jpg", "test/nv/a.jpg", "test/mel/b.jpg"
        ),
        "the parts test, train",
        "--part",
    ),
    folder_case(
        "below",
        lambda f: sorted_pictures(f, "mine/nv/a.jpg", "mine/mel/b.jpg"),
        "in the folders mine",
    ),
    folder_case("two_truths", two_truths, "2 ground-truth files", "--part test"),
    folder_case(
        "layout",
        lambda f: partial(sorted_pictures(f, "nv/a.jpg", "mel/b.jpg"), "kaggle"),
        "one of own_table",
    ),
    folder_case(
        "layout_not_there",
        lambda f: partial(sorted_pictures(f, "nv/a.jpg", "mel/b.jpg"), "ham10000"),
        "nothing of the layout ham10000",
    ),
    folder_case(
        "part",
        lambda f: partial(sorted_pictures(f, "nv/a.jpg", "mel/b.jpg"), None, "train"),
        "has no parts",
    ),
    folder_case(
        "ham_part",
        lambda f: partial(ham(f), None, "validation"),
        "no part 'validation'",
        "training",
    ),
    folder_case(
        "stray", lambda f: sorted_pictures(f, "nv/a.jpg", "mel/b.jpg", "c.jpg"), "c.jpg", "Move it"
    ),
    folder_case(
        "heic", lambda f: with_file(f, "nv/x.heic", "x", "nv/a.jpg", "mel/b.jpg"), "x.heic", "JPEG"
    ),
    folder_case(
        "dicom", lambda f: with_file(f, "nv/x.dcm", "x", "nv/a.jpg", "mel/b.jpg"), "x.dcm", "format"
    ),
    folder_case(
        "heic_only",
        lambda f: with_file(f, "nv/x.heic", "x"),
        "no picture that is read",
        "x.heic",
        "JPEG",
    ),
    folder_case(
        "one_class_of_heic",
        lambda f: with_file(f, "malignant/x.heic", "x", "benign/a.jpg"),
        "x.heic",
        "JPEG",
    ),
    folder_case(
        "packed_classes",
        lambda f: with_file(f, "nv/pictures.zip", "x"),
        "nv/pictures.zip",
        "Unpack",
    ),
    folder_case("packed_part", packed_part, "row 2", "Unpack part_2.zip"),
    folder_case("dicom_beside_table", dicom_beside_table, "I0.dcm", "DICOM"),
    folder_case("lost_link", with_lost_link, "c.jpg", "a link to nothing"),
    folder_case(
        "formula", lambda f: sorted_pictures(f, "nv/=1+1.jpg", "mel/b.jpg"), "=1+1", "Rename"
    ),
    folder_case(
        "formula_class", lambda f: sorted_pictures(f, "=owl/a.jpg", "crow/b.jpg"), "=owl", "Rename"
    ),
    folder_case(
        "unprintable", lambda f: sorted_pictures(f, "nv/a\x1b[31m.jpg", "mel/b.jpg"), r"\x1b"
    ),
    folder_case(
        "patients",
        lambda f: sorted_pictures(f, *(f"patient_{i}x/a.jpg" for i in range(30))),
        "30 classes in 30 pictures",
    ),
    folder_case(
        "no_classes", lambda f: partial(read_folder, sorted_pictures(f, "a.jpg").args[0]), "a.jpg"
    ),
    folder_case("pipe", with_pipe, "1 pictures without a label"),
    folder_case(
        "unlike_copies", unlike_copies, "I0.jpg", "unlike", "remove the picture that is wrong"
    ),
    folder_case("two_tables", two_tables, "another table than", "Move the wrong one"),
    folder_case("two_diagnoses", two_diagnoses, "of lesion L0", "akiec and bcc"),
    folder_case("lost_groupings", lost_groupings, "LesionGroupings.csv", "Fetch the file again"),
    folder_case(
        "login_page_for_metadata",
        beside_isic2019,
        "ISIC_2019_Training_Metadata.csv",
        "Fetch the file again",
    ),
    folder_case("table_below", table_below, "a table in meta", "Copy the table into this folder"),
    folder_case(
        "packed_table",
        lambda f: with_file(f, "HAM10000_metadata.csv.gz", "x", "a.jpg"),
        "HAM10000_metadata.csv.gz",
        "unpack it",
    ),
    folder_case(
        "disguised",
        lambda f: with_file(f, "columns.json.txt", "{}", "a.jpg"),
        "columns.json.txt",
        "Rename",
    ),
    folder_case(
        "no_picture_without_table",
        no_picture_without_table,
        "x.jpg: found a file that is no picture",
        "or move it away",
    ),
    folder_case(
        "pages_for_pictures",
        pages_for_pictures,
        ".jpg and 39 more: found a file that is no picture: a web page",
    ),
    folder_case(
        "class_of_bars",
        lambda f: sorted_pictures(f, "a|b/a.jpg", "c/b.jpg"),
        "a|b",
        "Rename the folder",
    ),
    folder_case("suggested_before", second_suggestion, "columns.json", "there already"),
    folder_case("too_many_diagnoses", many_diagnoses, "two to 100", '"image_id": "file"'),
    folder_case(
        "torn_groupings", torn_groupings, "LesionGroupings.csv, row 3", "another lesion for image a"
    ),
    folder_case(
        "other_groupings",
        other_groupings,
        "LesionGroupings.csv",
        "none of the pictures",
        "Fetch the file again",
    ),
    folder_case("guesses_for_truth", guesses, "truth.csv, row 2", "Put the ground truth there"),
    folder_case(
        "splits", splits, "val.csv: found another table than train.csv", '{"table": "train.csv"}'
    ),
    folder_case("two_sizes", two_sizes, "small/I0.jpg and 6 more", "unlike"),
    folder_case(
        "formulas",
        lambda f: sorted_pictures(f, "mel/a.jpg", *(f"nv/-{i}.jpg" for i in range(40))),
        "-0.jpg and 39 more",
    ),
    folder_case("nothing_to_suggest", suggestion, "no table whose cells are names of pictures"),
]


def own(folder, text, table="file,what\na.jpg,owl\nb.jpg,crow\n"):
    save(folder / "a.jpg")
    save(folder / "b.jpg", 200)
    (folder / "birds.csv").write_text(table)
    (folder / "columns.json").write_text(text if isinstance(text, str) else json.dumps(text))
    return partial(read_any, folder)


def mapping_case(name, mapping, *says, **how):
    if isinstance(mapping, dict):
        mapping = dict(image_id="file", dx="what") | mapping
    return Bad(f"bad_mapping_{name}", lambda folder: own(folder, mapping, **how), says)


TABLES += [
    mapping_case("broken", '{"image_id": ', "columns.json", "broken JSON"),
    mapping_case("twice", '{"dx": "a", "dx": "b", "image_id": "file"}', "the key dx twice"),
    mapping_case("deep", "[" * 100_000, "columns.json", "broken JSON"),
    mapping_case("list", "[1]", "no object"),
    mapping_case("key", dict(colour="file"), "the keys colour"),
    mapping_case("number", dict(age=3), "age: 3", "a text"),
    mapping_case("column", dict(dx="diagnosis"), "birds.csv", "no column diagnosis", "file, what"),
    mapping_case("outside", dict(table="../birds.csv"), "../birds.csv", "in this folder or below"),
    mapping_case("absolute", dict(table="/etc/passwd"), "/etc/passwd", "in this folder or below"),
    mapping_case("no_table", dict(table="none.csv"), "none.csv", "no such file"),
    mapping_case("group", dict(group="lesion"), "group 'lesion'"),
    mapping_case("no_patients", dict(group="patient_id"), "no patient_id"),
    mapping_case("one_column_for_two", dict(image_id="what"), "'what' for dx and for image_id"),
    mapping_case(
        "two_meanings", dict(classes={"Owl": "mel", "owl": "nv"}), "'owl' with two meanings"
    ),
    mapping_case(
        "long_class", dict(classes=dict(owl="o" * 5000)), "birds.csv, row 2", "100 at most"
    ),
    mapping_case(
        "markup", dict(classes=dict(owl="<b>owl</b>")), "birds.csv, row 2", "Rename the class"
    ),
    mapping_case("malignant", dict(malignant=["hawk"]), "columns.json of", "malignant: hawk"),
    mapping_case("one_class", {}, "class 'owl' only", table="file,what\na.jpg,owl\nb.jpg,owl\n"),
    mapping_case("all_left_out", dict(classes=dict(owl=None, crow=None)), "no class"),
    mapping_case(
        "row_without_class",
        {},
        "row 4",
        "no class",
        table="file,what\na.jpg,owl\nb.jpg,crow\na.jpg,\n",
    ),
    mapping_case(
        "semicolon_in_a_cell", {}, "row 3", "3 cells", table="file,what\na.jpg,owl\nb.jpg,crow,1\n"
    ),
]
