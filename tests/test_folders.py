"""What people who do this job have on their disks: which pictures, classes and lesions come out,
and what is said of the rest."""
import json
import os
import shutil
import time
import unicodedata
import pandas as pd
import pytest
from PIL import Image
from skin_nb.folders import nearest_names, row_names
from skin_nb.own_data import left_out_rows, write_suggestion
from skin_nb.readers import (data_stamp, describe_reading, passed_over, read_any, read_isic2018,
                             survey)
from skin_nb.tables import TABLE_COLUMNS
from skin_nb.tasks import HAM10000, task_of

CLASSES = HAM10000.classes
pytestmark = pytest.mark.filterwarnings("ignore")


def save(path, colour=100, form=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 20), (colour % 256, 90, 80)).save(path, form)


def sorted_into(folder, *names):
    "Pictures of different colours under these names."
    for i, name in enumerate(names):
        save(folder / name, 7 * i)
    return folder


def ham(folder, change=None, names="images/{}.jpg", **how):
    "A HAM10000 of fourteen pictures, its table changed as asked."
    table = pd.DataFrame([(f"L{i}", f"ISIC_{i}", CLASSES[i % 7], "histo", "50", "male", "back")
                          for i in range(14)], columns=TABLE_COLUMNS)
    for i, name in enumerate(table.image_id):
        save(folder / names.format(name), 15 * i)
    table = change(table) if change else table
    table.to_csv(folder / "HAM10000_metadata.csv", index=False, **how)
    return folder


def in_order(folder, **how):
    "The table of a folder without problems."
    table, problems = survey(folder, **how)
    assert [str(p) for p in problems] == []
    return table


# which files are pictures

FORMATS = ["a.jpg", "b.JPEG", "c.jfif", "d.png", "e.bmp", "f.tif", "g.tiff", "h.webp"]


def test_every_format_at_every_depth_is_read(tmp_path):
    sorted_into(tmp_path, *[f"nv/{name}" for name in FORMATS], "mel/x/y/z/v/w/deep.jpg")
    save(tmp_path / "mel" / "without_ending", form="PNG")
    table = in_order(tmp_path)
    assert len(table) == len(FORMATS) + 2 and passed_over(table) == []


@pytest.mark.parametrize("place, reason", [
    ("masks/a.png", "masks"), ("HAM10000_segmentations_lesion_tschandl/a.png", "masks"),
    ("__MACOSX/nv/._a.jpg", "masks"), ("nv/@eaDir/a.jpg/SYNOFILE_THUMB_M.jpg", "hidden or system"),
    ("nv/.thumbs/a.jpg", "hidden or system"), ("lost+found/a.jpg", "hidden or system"),
    ("nv/.a.jpg", "hidden or system"), ("nv/a_segmentation.png", "masks beside"),
    ("nv/#snapshot/a.jpg", "hidden or system"), ("@Recycle/a.jpg", "hidden or system"),
    ("Task1_GroundTruth/a_segmentation.png", "masks beside"),
    ("Task2_GroundTruth/a_attribute_pigment_network.png", "masks beside")])
def test_what_is_passed_over_is_named(tmp_path, place, reason):
    sorted_into(tmp_path, "nv/a.jpg", "mel/b.jpg", place)
    table = in_order(tmp_path)
    line, = passed_over(table)
    assert len(table) == 2 and reason in line and ": 1, such as" in line


def test_other_files_and_links_in_circles_are_named(tmp_path):
    sorted_into(tmp_path, "nv/a.jpg", "mel/b.jpg")
    (tmp_path / "README.txt").write_text("moles")
    (tmp_path / "nv" / "again").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    lines = " ".join(passed_over(in_order(tmp_path)))
    assert (
        "files that are no pictures: 2" in lines
        and "links to folders that were read already: 1" in lines
    )


def test_an_empty_class_folder_is_named(tmp_path):
    sorted_into(tmp_path, "nv/a.jpg", "mel/b.jpg")
    (tmp_path / "vasc").mkdir()
    assert passed_over(in_order(tmp_path)) == [
        "passed over: class folders without a picture: 1, such as vasc"]


def test_pictures_of_the_challenge_beside_ham10000(tmp_path):
    "The test part is published in the same place; its pictures are another part, not strangers."
    ham(tmp_path)
    sorted_into(
        tmp_path, "ISIC2018_Task3_Test_Images/ISIC_90.jpg", "ISIC2018_Task3_Test_Images/ISIC_91.jpg"
    )
    table = in_order(tmp_path)
    assert len(table) == 14 and "pictures of other parts: 2" in passed_over(table)[0]
    rows = [
        ("L90", "ISIC_90", "nv", "histo", "", "", ""),
        ("L91", "ISIC_91", "mel", "histo", "", "", ""),
    ]
    pd.DataFrame(rows, columns=TABLE_COLUMNS).to_csv(
        tmp_path / "ISIC2018_Task3_Test_GroundTruth.csv", index=False
    )
    assert len(in_order(tmp_path)) == 14
    assert in_order(tmp_path, part="test").image_id.tolist() == ["ISIC_90", "ISIC_91"]


# which names belong together

@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.assign(dx=t.dx.str.upper(), sex="Male"),
        lambda t: t.assign(dx=t.dx.map(HAM10000.descriptions)),
        lambda t: t.assign(
            dx=t.dx.map(HAM10000.descriptions).str.replace(" ", "_").str.replace("_/_", " / ")
        ),
        lambda t: t.assign(dx=t.dx.map(HAM10000.descriptions) + "  (" + t.dx + ")"),
        lambda t: t.assign(
            dx=t.dx.replace(
                dict(nv="Nevus", mel="Malignant melanoma", bkl="pigmented_benign_keratosis")
            )
        ),
        lambda t: t.assign(image_id=t.image_id + ".JPG"),
        lambda t: t.assign(image_id="C:\\data\\" + t.image_id + ".jpg"),
        lambda t: t.assign(image_id=t.image_id.str.lower()),
        lambda t: t.assign(age="NA", sex="None", localization="NaN"),
        lambda t: t.rename(columns=dict(image_id="Image ID", dx="DX")),
    ],
)
def test_spellings_of_the_published_table(tmp_path, change):
    table = in_order(ham(tmp_path, change))
    assert table.dx.tolist() == [*CLASSES] * 2 and table.path.notna().all()
    assert table.image_id.str.upper().tolist() == [f"ISIC_{i}" for i in range(14)]


@pytest.mark.parametrize("name", ["Lésion_{}", "ß{}", "ö-{}"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_letters_in_one_piece_or_two(tmp_path, name, form):
    other = dict(NFC="NFD", NFD="NFC")[form]
    ham(
        tmp_path,
        lambda t: t.assign(
            image_id=[unicodedata.normalize(form, name.format(i)) for i in t.image_id]
        ),
        names="images/" + unicodedata.normalize(other, name) + ".jpg",
    )
    assert len(in_order(tmp_path)) == 14


@pytest.mark.parametrize(
    "how",
    [
        dict(lineterminator="\r"),
        dict(lineterminator="\r\n"),
        dict(sep=";"),
        dict(sep="\t"),
        dict(encoding="utf-8-sig"),
        dict(quoting=1),
        dict(sep="|"),
    ],
)
def test_what_spreadsheets_write(tmp_path, how):
    assert in_order(ham(tmp_path, **how)).dx.tolist() == [*CLASSES] * 2


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "sep=,\n" + text,
        lambda text: "\n" + text,
        lambda text: "\n".join(
            ", ".join(f'"{c}"' for c in line.split(",")) for line in text.splitlines()
        ),
        lambda text: text + "\x1a",
        lambda text: text.replace(",back\n", ",back,,\n"),
        lambda text: text + " , , , , , , \n",
        lambda text: text.replace("male", "M"),
        lambda text: text.replace("ISIC_3,", "\u202aISIC_3\u200e,"),
    ],
)
def test_what_people_leave_in_a_table(tmp_path, change):
    file = ham(tmp_path) / "HAM10000_metadata.csv"
    file.write_text(change(file.read_text()))
    table = in_order(tmp_path)
    assert table.dx.tolist() == [*CLASSES] * 2 and set(table.sex) == {"male"}


@pytest.mark.parametrize(
    "name", ["HAM10000_metadata (1).csv", "HAM10000_metadata.csv.txt", "cleaned.csv"]
)
def test_a_table_is_known_by_its_columns(tmp_path, name):
    ham(tmp_path)
    (tmp_path / "HAM10000_metadata.csv").rename(tmp_path / name)
    assert in_order(tmp_path).attrs["source"] == str(tmp_path / name)


def test_copies_are_one_picture_and_equal_length_is_not_equality(tmp_path):
    ham(tmp_path, names="images/{}.bmp")
    for i in range(3):
        save(tmp_path / "again" / f"ISIC_{i}.bmp", 15 * i)
    table = in_order(tmp_path)
    assert "copies of pictures: 3" in passed_over(table)[0]
    save(tmp_path / "again" / "ISIC_0.bmp", 222)  # as many bytes, another picture
    problem, = survey(tmp_path)[1]
    assert "ISIC_0.bmp" in problem.file and "unlike" in problem.found


def test_names_that_repeat_between_folders(tmp_path):
    sorted_into(tmp_path, "nv/0.jpg", "nv/1.jpg", "mel/0.jpg", "mel/1.jpg")
    table = in_order(tmp_path)
    assert table.image_id.tolist() == ["mel/0", "mel/1", "nv/0", "nv/1"]
    assert all(path.endswith(f"{i}.jpg") for i, path in zip(table.image_id, table.path))


@pytest.mark.parametrize(
    "cell",
    [
        "images/p{}/lesion.jpg",
        "p{}/lesion",
        "/home/me/data/images/p{}/lesion.jpg",
        "images\\p{}\\lesion.jpg",
    ],
)
def test_the_path_in_a_table_is_honoured(tmp_path, cell):
    sorted_into(tmp_path, *[f"images/p{i}/lesion.jpg" for i in range(4)])
    table = pd.DataFrame(dict(file=[cell.format(i) for i in range(4)], what=["owl", "crow"] * 2))
    table.to_csv(tmp_path / "list.csv", index=False)
    (tmp_path / "columns.json").write_text('{"image_id": "file", "dx": "what"}')
    read = in_order(tmp_path)
    assert [path.split(os.sep)[-2] for path in read.path] == ["p0", "p1", "p2", "p3"]
    assert read.image_id.is_unique


def test_folders_of_patients_are_no_classes(tmp_path):
    "Where a table names the pictures in them, and nobody has said what its columns mean."
    sorted_into(tmp_path, *[f"images/p{i}/lesion.jpg" for i in range(4)])
    cells = [f"images/p{i}/lesion.jpg" for i in range(4)]
    pd.DataFrame(dict(file=cells, diagnosis=["owl", "crow"] * 2)).to_csv(
        tmp_path / "list.csv", index=False
    )
    problem, = survey(tmp_path)[1]
    assert "--suggest" in problem.fix and "list.csv" in problem.found
    write_suggestion(tmp_path)
    assert in_order(tmp_path).dx.tolist() == ["owl", "crow"] * 2


def test_a_table_that_says_too_little_to_tell_patients_apart(tmp_path):
    sorted_into(tmp_path, *[f"p{i}/lesion.jpg" for i in range(4)])
    pd.DataFrame(dict(file="lesion.jpg", what=["owl", "crow"] * 2)).to_csv(
        tmp_path / "list.csv", index=False
    )
    (tmp_path / "columns.json").write_text('{"image_id": "file", "dx": "what"}')
    for problem in survey(tmp_path)[1][:2]:
        assert "folder" in problem.fix.lower() and problem.count in (1, 3)


def test_rows_about_people_find_their_pictures():
    "By the folder where names repeat; a row of another patient is nobody's."
    names = row_names(["images/p1/a.jpg", "images\\p2\\a.jpg", "p2/b.png"])
    assert names == ["images/p1/a", "images/p2/a", "p2/b"]
    places = ["/data/p2/a.jpg", "/data/images/p1/A.jpg", "/data/p9/a.jpg", "b", "c.jpg"]
    assert nearest_names(places, names) == ["images/p2/a", "images/p1/a", None, "p2/b", None]
    assert row_names(["x/a.jpg", "x/b.jpg"]) == ["x/a", "x/b"]


# one problem a cause

def test_a_problem_of_many_rows_is_said_once(tmp_path):
    problem, = survey(ham(tmp_path, lambda t: t.assign(dx="wart", lesion_id=t.image_id)))[1]
    assert problem.count == 14 and problem.row == 2 and '{"classes": {"wart": null}}' in problem.fix


def test_the_two_lines_solve_it(tmp_path):
    ham(tmp_path, lambda t: t.assign(dx=t.dx.replace("vasc", "healthy")))
    (tmp_path / "columns.json").write_text('{"classes": {"healthy": null}}')
    table = in_order(tmp_path)
    assert (
        len(table) == 12 and left_out_rows(table) == {"healthy": 2} and task_of(table) == HAM10000
    )
    assert "left out: rows of class healthy, with their pictures: 2" in passed_over(table)


@pytest.mark.parametrize("shift, words", [(lambda i: "x" + i, "Nothing has to be deleted"),
                                          (lambda i: i + "_small", "Nothing has to be deleted")])
def test_where_both_sides_fail_nothing_is_to_be_deleted(tmp_path, shift, words):
    problem, = survey(ham(tmp_path, lambda t: t.assign(image_id=t.image_id.map(shift))))[1]
    assert (
        words in problem.fix
        and "remove" not in problem.fix.lower()
        and "move" not in problem.fix.lower()
    )


# which layout

TRUTH = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"


def test_a_conflict_is_decided_by_its_owner(tmp_path):
    sorted_into(tmp_path, "nv/a.jpg", "mel/b.jpg")
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "truth.csv").write_text(TRUTH + "a,1,0,0,0,0,0,0\nb,0,1,0,0,0,0,0\n")
    problem, = survey(tmp_path)[1]
    assert "isic2018, folders" in problem.found and "--layout" in problem.fix
    assert in_order(tmp_path, layout="folders").dx.tolist() == ["nv", "mel"]
    table = in_order(tmp_path, layout="isic2018")
    assert table.dx.tolist() == ["mel", "nv"]
    assert describe_reading(table) == "layout isic2018, table truth.csv"


def test_every_folder_is_a_class_where_somebody_says_so(tmp_path):
    sorted_into(tmp_path, "nv/a.jpg", "mel /b.jpg", "healthy/c.jpg")
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    (tmp_path / "nv" / "2020" / "may").mkdir(parents=True)
    (tmp_path / "nv" / "2020" / "may" / "who.tsv").write_text("a\tb\n")
    problem, = survey(tmp_path)[1]
    assert "healthy/c.jpg" in problem.file and "--layout folders" in problem.fix
    table = in_order(tmp_path, layout="Folders")
    assert task_of(table).classes == ("healthy", "mel", "nv")
    assert passed_over(table) == [
        "passed over: tables, since folders tell the classes: 2, such as notes.csv"
    ]


@pytest.mark.parametrize("ones", [("True", "False"), ("1,0", "0,0"), ("1", "0"), ("1", "")])
def test_a_truth_in_many_hands(tmp_path, ones):
    one, zero = ones
    sorted_into(tmp_path, "a.jpg", "b.jpg")
    rows = [TRUTH.strip().split(","), ["a", one, *[zero] * 6], ["b", one, *[zero] * 6]]
    (tmp_path / "training.csv").write_text("\n".join(";".join(row) for row in rows))
    (tmp_path / "groups.csv").write_text("image,lesion_id\nA.jpg,L1\nB.jpg,L1\n")
    table = in_order(tmp_path)
    assert table.dx.tolist() == ["mel"] * 2 and table.lesion_id.tolist() == ["L1"] * 2


def test_a_truth_with_none_of_the_classes(tmp_path):
    "The column UNK of ISIC 2019, in a table of 2018's classes."
    sorted_into(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    truth = TRUTH.strip() + ",UNK\na,1,0,0,0,0,0,0,0\nb,0,1,0,0,0,0,0,0\nc,0,0,0,0,0,0,0,1\n"
    (tmp_path / "truth.csv").write_text(truth)
    table = in_order(tmp_path)
    assert table.dx.tolist() == ["mel", "nv"] and left_out_rows(table) == {"UNK": 1}


def test_the_challenge_beside_ham10000(tmp_path):
    ham(tmp_path)
    save(tmp_path / "ISIC_90.jpg")
    (tmp_path / "Validation_GroundTruth.csv").write_text(TRUTH + "ISIC_90,1,0,0,0,0,0,0\n")
    table = in_order(tmp_path, layout="isic2018", part="val")
    assert len(table) == 1 and "pictures of other parts: 14" in passed_over(table)[0]


def test_parts_are_named(tmp_path):
    for n, part in enumerate(("Training", "Validation")):
        (tmp_path / f"ISIC2018_Task3_{part}_GroundTruth").mkdir()
        truth = (
            tmp_path
            / f"ISIC2018_Task3_{part}_GroundTruth"
            / f"ISIC2018_Task3_{part}_GroundTruth.csv"
        )
        truth.write_text(TRUTH + f"a{n},1,0,0,0,0,0,0\nb{n},0,1,0,0,0,0,0\n")
        sorted_into(
            tmp_path,
            f"ISIC2018_Task3_{part}_Input/a{n}.jpg",
            f"ISIC2018_Task3_{part}_Input/b{n}.jpg",
        )
    assert "--part training" in survey(tmp_path)[1][0].fix
    table = in_order(tmp_path, part="validation")
    assert table.image_id.tolist() == ["a1", "b1"] and "part validation" in describe_reading(table)
    assert "pictures of other parts: 2" in passed_over(table)[0]


def truths(root, name, *parts):
    "The challenge with a truth `name` and pictures in a folder for each part."
    for part in parts:
        sorted_into(root, f"{part}/images/{part}.jpg")
        (root / part / name).parent.mkdir(exist_ok=True)
        (root / part / name).write_text(TRUTH + f"{part},1,0,0,0,0,0,0\n")


@pytest.mark.parametrize("part", ["val", "Validation", "VALID"])
def test_parts_by_the_names_of_folders(tmp_path, part):
    truths(tmp_path, "GroundTruth.csv", "train", "val")
    assert in_order(tmp_path, part=part).image_id.tolist() == ["val"]
    with pytest.warns(UserWarning, match="lesion of its own"):
        assert read_isic2018(tmp_path, part).image_id.tolist() == ["val"]


def test_parts_that_no_name_tells(tmp_path):
    "Advice that can be followed: --part would choose none of them."
    truths(tmp_path, "GroundTruth.csv", "january", "february")
    problem, = survey(tmp_path)[1]
    assert "a folder of its own" in problem.fix and "--part" not in problem.fix
    assert in_order(tmp_path / "january").image_id.tolist() == ["january"]


def test_a_truth_twice_is_one(tmp_path):
    truths(tmp_path, "truth.csv", "one")
    shutil.copy(tmp_path / "one" / "truth.csv", tmp_path / "truth (1).csv")
    assert len(in_order(tmp_path)) == 1


TRAINING = "ISIC2018_Task3_Training_"


def test_archives_unpacked_into_folders_of_their_own_names(tmp_path):
    deep = tmp_path / f"{TRAINING}GroundTruth" / f"{TRAINING}GroundTruth"
    deep.mkdir(parents=True)
    (deep / "truth.csv").write_text(TRUTH + "a,1,0,0,0,0,0,0\n")
    sorted_into(
        tmp_path, f"{TRAINING}Input/{TRAINING}Input/a.jpg", "ISIC2018_Task1-2_Training_Input/z.jpg"
    )
    table = in_order(tmp_path)
    assert (
        table.image_id.tolist() == ["a"] and "pictures of other parts: 1" in passed_over(table)[0]
    )


@pytest.mark.parametrize("parts", [["train", "test"], ["Training", "Validation", "Testing"]])
def test_parents_of_class_folders(tmp_path, parts):
    sorted_into(
        tmp_path,
        *[f"{part}/{name}" for part in parts for name in ("benign/1.jpg", "malignant/2.jpg")],
    )
    assert "the parts" in survey(tmp_path)[1][0].found
    table = in_order(tmp_path, part=parts[0])
    assert task_of(table).classes == ("benign", "malignant") and len(table) == 2
    assert all(f"{os.sep}{parts[0]}{os.sep}" in path for path in table.path)


# tables from elsewhere

ELSEWHERE = {
    "isic_archive": (
        dict(
            isic_id=["a", "b", "c"],
            age_approx=["50", "", "60"],
            diagnosis_1=["Benign", "Malignant", "Benign"],
            diagnosis_3=["Nevus", "Melanoma, NOS", "Seborrheic keratosis"],
            lesion_id=["L1", "", ""],
            sex=["male", "female", ""],
            anatom_site_general=["head/neck"] * 3,
        ),
        ["nv", "mel", "bkl"],
    ),
    "isic_archive_of_ham10000": (
        dict(
            isic_id=["a", "b", "c"],
            diagnosis_1=["Benign", "Malignant", "Malignant"],
            diagnosis_3=["Pigmented benign keratosis", "Melanoma Invasive", "Basal cell carcinoma"],
        ),
        ["bkl", "mel", "bcc"],
    ),
    "pad_ufes_20": (
        dict(
            patient_id=["P1", "P2", "P3"],
            lesion_id=["1", "2", "3"],
            age=["40", "50", "60"],
            gender=["FEMALE", "MALE", ""],
            region=["FACE", "ARM", "NOSE"],
            diagnostic=["NEV", "SEK", "ACK"],
            img_id=["a.png", "b.png", "c.png"],
        ),
        ["nv", "bkl", "akiec"],
    ),
    "siim_isic": (
        dict(
            image_name=["a", "b", "c"],
            patient_id=["P1", "P1", "P2"],
            sex=["male"] * 3,
            age_approx=["40"] * 3,
            diagnosis=["unknown", "nevus", "melanoma"],
            target=["0", "0", "1"],
        ),
        ["unknown", "nv", "mel"],
    ),
    "kaggle_siim": (
        dict(
            image_name=["a", "b", "c"],
            patient_id=["P1", "P1", "P2"],
            diagnosis=["unknown"] * 2 + ["melanoma"],
            benign_malignant=["benign", "benign", "malignant"],
        ),
        ["benign", "benign", "malignant"],
    ),
    "ddi": (
        dict(DDI_file=["a.png", "b.png", "c.png"], malignant=["False", "True", "False"]),
        ["benign", "malignant", "benign"],
    ),
    "isic_2017": (
        dict(
            image_id=["a", "b", "c"],
            melanoma=["0.0", "1.0", "0.0"],
            seborrheic_keratosis=["1.0", "0.0", "0.0"],
        ),
        ["other", "mel", "other"],
    ),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_suggestion_reads_known_tables(tmp_path, name):
    columns, classes = ELSEWHERE[name]
    sorted_into(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    pd.DataFrame(columns).to_csv(tmp_path / "metadata.csv", index=False)
    if name != "siim_isic":  # the challenge's own table is read without being told what it means
        assert "--suggest" in survey(tmp_path)[1][0].fix
    assert write_suggestion(tmp_path) == tmp_path / "columns.json"
    table = in_order(tmp_path)
    assert table.dx.tolist() == classes and table.image_id.tolist() == ["a", "b", "c"]
    assert json.loads((tmp_path / "columns.json").read_text())["table"] == "metadata.csv"


def test_unlabelled_pictures_of_another_table(tmp_path):
    columns, _ = ELSEWHERE["siim_isic"]
    sorted_into(tmp_path, *(f"train/{i}.png" for i in "abc"), "test/d.png", "clinic/e.png")
    pd.DataFrame(columns | dict(other=["e.png", "", ""])).to_csv(
        tmp_path / "train.csv", index=False
    )
    (tmp_path / "test.csv").write_text("image_name,patient_id\nd,P9\n")
    write_suggestion(tmp_path)
    table = in_order(tmp_path)
    assert len(table) == 3
    assert passed_over(table) == [
        "passed over: pictures that only another table or column names: 2, such as clinic/e"
    ]


def test_one_picture_with_two_diagnoses_is_said(tmp_path):
    sorted_into(tmp_path, "nv/a.jpg", "mel/b.jpg")
    (tmp_path / "mel" / "c.jpg").write_bytes((tmp_path / "nv" / "a.jpg").read_bytes())
    with pytest.warns(UserWarning, match=r"1 pictures .*c\.jpg \(mel\) = .*a\.jpg \(nv\)"):
        assert survey(tmp_path)[1] == []


def test_one_word_in_many_spellings(tmp_path):
    (
        save(tmp_path / "a.jpg"),
        save(tmp_path / "a.png", 200),
        save(tmp_path / "b.jpg"),
        save(tmp_path / "c.jpg", 50),
    )
    words = ["N\u00e4vus", "Na\u0308vus", "1", "1.0"]
    pd.DataFrame(
        dict(image_id=["a.jpg", "a.png", "b", "c"], dx=words, lesion_id=["L1", "l1", "L2", "L2"])
    ).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "columns.json").write_text('{"classes": {"1.0": "mel"}, "lesion_id": "lesion_id"}')
    with pytest.warns(
        UserWarning, match="2 lesion_ids differ from another in capitals only, such as L1"
    ):
        table = read_any(tmp_path)
    assert table.dx.tolist() == ["N\u00e4vus"] * 2 + ["mel"] * 2 and table.image_id.tolist() == [
        "a.jpg",
        "a.png",
        "b",
        "c",
    ]


def test_some_lesions_unknown(tmp_path):
    columns, _ = ELSEWHERE["isic_archive"]
    sorted_into(tmp_path, "a.png", "b.png", "c.png")
    pd.DataFrame(columns).to_csv(tmp_path / "metadata.csv", index=False)
    (tmp_path / "columns.json").write_text('{"image_id": "isic_id", "dx": "diagnosis_3"}')
    with pytest.warns(UserWarning, match="2 of 3 pictures have no lesion_id"):
        assert read_any(tmp_path).lesion_id.tolist() == ["L1", "b", "c"]


# whether the data are the same

def test_the_stamp_knows_labels_and_pixels(tmp_path):
    ham(tmp_path, names="images/{}.bmp")
    stamps = {data_stamp(read_any(tmp_path))}
    ham(tmp_path, lambda t: t.assign(dx=t.dx.replace("vasc", "nv")), names="images/{}.bmp")
    stamps.add(data_stamp(read_any(tmp_path)))
    picture = tmp_path / "images" / "ISIC_3.bmp"
    before = picture.stat()
    time.sleep(.02)
    save(picture, 201)
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert picture.stat().st_size == before.st_size
    stamps.add(data_stamp(read_any(tmp_path)))
    assert len(stamps) == 3 and data_stamp(read_any(tmp_path)) in stamps


def test_ph2(tmp_path):
    "BMP files in folders of folders beside masks, and a table with bars."
    cases = [f"IMD{i:03}" for i in range(6)]
    for i, case in enumerate(cases):
        for name in (
            f"{case}_Dermoscopic_Image/{case}",
            f"{case}_lesion/{case}_lesion",
            f"{case}_roi/{case}_R1_Label3",
        ):
            save(tmp_path / "PH2 Dataset images" / case / f"{name}.bmp", 9 * i)
    lines = [f"|| {case} || || {i % 3} || 0 | T || 4 ||" for i, case in enumerate(cases)]
    (tmp_path / "PH2_dataset.txt").write_text(
        "\n".join(["|| Name || ||", *lines, "Legends", "0 - Common Nevus"])
    )
    table = in_order(tmp_path)
    assert table.dx.tolist() == ["common nevus", "atypical nevus", "mel"] * 2
    assert task_of(table).malignant == ("mel",) and "folders of masks: 12" in passed_over(table)[0]


def test_pictures_without_labels(tmp_path):
    from skin_nb.own_data import read_pictures
    sorted_into(tmp_path, "a.jpg", "b/c.png", "masks/a.png")
    table = read_pictures(tmp_path)
    assert sorted(table.image_id) == ["a", "c"] and "dx" not in table
    assert "--unlabelled" in survey(tmp_path)[1][0].fix
