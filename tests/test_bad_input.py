"""Every way in which a folder of pictures can be broken: one test a case. Each error names the
file, the row or image, and what to do."""
import json
import warnings
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skin_nb.core import DataError
from skin_nb.pictures import CONVERSIONS, decode_images, open_image
from skin_nb.preparation import (encode_metadata, fit_metadata, lesions_shared, split_by_image,
                                 split_by_lesion)
from skin_nb.own_data import left_out_rows, read_folder, read_own_table
from skin_nb.readers import (find_problems, read_any, read_ham10000, read_isic2018, read_isic2019,
                             survey)
from skin_nb.tables import GAPS
from skin_nb.tasks import HAM10000, ISIC2019, MELANOMA, task_in_group, task_of
from skin_nb.understanding import class_counts

N = 14
IDS = [f"ISIC_{i:07}" for i in range(1, N + 1)]


def picture(i=0, size=(60, 45)):
    pixels = np.random.default_rng(i).integers(60, 220, (*size[::-1], 3), "uint8")
    return Image.fromarray(pixels)


class Folder:
    "A small HAM10000: picture i belongs to line i + 2 of the table."
    def __init__(self, root):
        self.root = root
        self.csv = root / "HAM10000_metadata.csv"
        for k in 1, 2:
            (root / f"HAM10000_images_part_{k}").mkdir(parents=True)
        for i in range(N):
            picture(i).save(self.file(i))
        self.rows = pd.DataFrame(dict(
            lesion_id=[f"HAM_{i // 2:07}" for i in range(N)], image_id=IDS,
            dx=[HAM10000.classes[i // 2] for i in range(N)], dx_type="histo",
            age=[str(5 * i) for i in range(N)], sex=["male", "female"] * (N // 2),
            localization="back"))
        self.write()

    def file(self, i):
        return self.root / f"HAM10000_images_part_{1 + i % 2}" / f"{IDS[i]}.jpg"

    def write(self, **how):
        self.rows.to_csv(self.csv, index=False, **how)

    def set(self, i, **cells):
        for column, value in cells.items():
            self.rows.loc[i, column] = value
        self.write()


@pytest.fixture
def ham(tmp_path):
    return Folder(tmp_path / "ham")


def refused(call, *texts):
    "The problems of the `DataError`; between them they say all of `texts`, and each has a remedy."
    with pytest.raises(DataError) as error:
        call()
    for text in texts:
        assert str(text) in str(error.value)
    assert all(p.fix and p.expected and p.file for p in error.value.problems)
    return error.value.problems


def audited(root, row, *texts):
    "`find_problems` has exactly one problem, which names row and words."
    problem, = find_problems(root)
    for text in (row, *texts):
        assert str(text) in str(problem), problem
    return problem


def test_a_folder_in_order(ham):
    table = read_ham10000(ham.root)
    assert list(table.image_id) == IDS and find_problems(ham.root) == []
    assert table.age.tolist() == [5. * i for i in range(N)] and task_of(table) == HAM10000


# the folder and the table

def test_missing_folder(tmp_path):
    for read in read_ham10000, read_isic2018, read_isic2019, read_folder, read_own_table, read_any:
        refused(lambda: read(tmp_path / "nowhere"), "nowhere", "no such folder", "Check the path")
    audited(tmp_path / "nowhere", "nowhere", "no such folder")


def test_unknown_layout(tmp_path):
    picture().save(tmp_path / "a.jpg")
    refused(lambda: read_any(tmp_path), tmp_path, "HAM10000_metadata.csv", "ISIC 2018", "ISIC 2019",
            "one folder per class", "columns.json")


def test_missing_table(ham):
    ham.csv.unlink()
    refused(
        lambda: read_ham10000(ham.root), ham.root, "HAM10000_metadata.csv", "beside its pictures"
    )


def test_lost_table_leaves_no_classes(ham):
    "Without its table HAM10000 is not taken for two classes named after its archives."
    ham.csv.unlink()
    refused(lambda: read_any(ham.root), ham.root, "no layout that is known", "not images or train")


def test_missing_column(ham):
    ham.rows = ham.rows.drop(columns=["age", "dx"])
    ham.write()
    (p,) = refused(
        lambda: read_ham10000(ham.root), ham.csv, "no column dx, age", "Add what is missing"
    )
    assert p.row == 1 and "columns.json" in p.fix


def test_missing_column_of_the_challenge(tmp_path):
    picture().save(tmp_path / "ISIC_1.jpg")
    (tmp_path / "truth.csv").write_text("image,MEL,NV,BCC,AKIEC,BKL,DF\nISIC_1,1,0,0,0,0,0\n")
    refused(lambda: read_any(tmp_path), "truth.csv", "no column VASC")


HEADER = "lesion_id,image_id,dx,dx_type,age,sex,localization\n"


@pytest.mark.parametrize("text, found", [("", "empty file"), (HEADER, "empty table")])
def test_empty_table(ham, text, found):
    ham.csv.write_text(text)
    refused(lambda: read_ham10000(ham.root), ham.csv, found, "fresh copy")


def test_not_utf8(ham):
    ham.set(3, localization="Gesäß")
    ham.write(encoding="latin-1")
    p, = refused(lambda: read_ham10000(ham.root), ham.csv, "isn't UTF-8", "CSV UTF-8")
    assert p.row == 5


def test_utf8_with_a_mark_is_fine(ham):
    ham.set(3, localization="Gesäß")
    ham.write(encoding="utf-8-sig")
    assert read_ham10000(ham.root).localization[3] == "Gesäß"


@pytest.mark.parametrize("how", [dict(sep=";"), dict(sep="\t"), dict(lineterminator="\r")])
def test_what_other_programs_write_is_read(ham, how):
    ham.set(3, age="45,5")
    ham.write(**how)
    table = read_ham10000(ham.root)
    assert table.image_id.tolist() == IDS and table.age[3] == 45.5


def test_row_with_a_cell_too_many(ham):
    lines = ham.csv.read_text().splitlines()
    lines[4] += ",extra"
    ham.csv.write_text("\n".join(lines))
    problems = refused(lambda: read_ham10000(ham.root), ham.csv, "8 cells")
    assert problems[0].row == 5


# cells

def test_unknown_class(ham):
    ham.set(4, dx="wart")
    ham.set(5, dx="wart")
    problem, = find_problems(ham.root)
    for text in (
        IDS[4],
        "'wart'",
        "one of akiec",
        "Correct the cell",
        'columns.json with {"classes": {"wart"',
    ):
        assert text in str(problem)
    assert problem.row == 6 and problem.count == 2
    refused(lambda: read_ham10000(ham.root), ham.csv, "row 6")


def test_no_class_or_two(tmp_path):
    for i in 1, 2:
        picture().save(tmp_path / f"ISIC_{i}.jpg")
    (tmp_path / "truth.csv").write_text("image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"
                                        "ISIC_1,1,0,0,0,0,0,1\nISIC_2,0,0,0,0,0,0,0\n")
    with pytest.warns(UserWarning, match="lesion of its own"):
        problems = refused(
            lambda: read_isic2018(tmp_path), "truth.csv", "ISIC_1", "one 1 and six 0"
        )
    assert [p.row for p in problems] == [2, 3]


def test_duplicate_image_id(ham):
    ham.rows = pd.concat([ham.rows, ham.rows.iloc[[2]]])
    ham.write()
    assert audited(ham.root, IDS[2], "a second time", "remove one").row == N + 2


@pytest.mark.parametrize("age", ["-5", "230", "forty", "inf"])
def test_absurd_age(ham, age):
    ham.set(6, age=age)
    assert audited(ham.root, IDS[6], repr(age), "0 to 120", "empty it").row == 8


def test_gaps_are_no_problem(ham):
    ham.set(0, age="", sex="", localization="")
    ham.set(1, sex="unknown", localization="unknown")
    table = read_ham10000(ham.root)
    assert np.isnan(table.age[0])
    assert table.sex.tolist()[:2] == table.localization.tolist()[:2] == ["unknown", "unknown"]
    assert np.isfinite(encode_metadata(fit_metadata(table), table)).all()


# class folders

def sort_into(root, folders):
    "A picture in each of the folders."
    for i, name in enumerate(folders):
        (root / name).mkdir(parents=True, exist_ok=True)
        picture(i).save(root / name / f"picture{i}.jpg")
    return root


def lonely(call):
    "What a reader returns that warns of unknown lesions."
    with pytest.warns(UserWarning, match="lesion of its own"):
        return call()


@pytest.mark.parametrize("folders, classes", [
    (["crater", "island", "delta"], ("crater", "delta", "island")),
    (["Wart", "wart", "Crow"], ("Crow", "Wart")),
    (["benign", "malignant"], ("benign", "malignant")),
    (["melanoma", "nevus"], ("nevus", "mel")),
    (["NV", "Basal cell carcinoma", "SCC"], ("bcc", "nv", "scc")),
    (["Melanoma", "other"], MELANOMA.classes),
    (["bcc", "Nevus", "Pigmented_benign_keratosis"], ("bcc", "bkl", "nv")),
    (["Melanoma (mel)", "Naevi (moles, nv)", "Wart (not mel)"], ("Wart (not mel)", "mel", "nv")),
    (HAM10000.classes, HAM10000.classes),
    ([HAM10000.descriptions[c].partition(" /")[0] for c in HAM10000.classes], HAM10000.classes),
    (["nv"], HAM10000.classes)])
def test_class_folders(tmp_path, folders, classes):
    sort_into(tmp_path, folders)
    table = lonely(lambda: read_any(tmp_path))
    assert task_of(table).classes == tuple(classes) and len(table) == len(folders)
    assert set(table.dx) <= set(classes)


@pytest.mark.parametrize("folders", [
    ["train", "test"], ["images", "segmentations"], ["images", "crow"], ["part_1", "part_2"],
    ["train_images", "validation_images"], ["crow"], ["crow/left", "owl/right"]])
def test_folders_that_are_no_classes(tmp_path, folders):
    sort_into(tmp_path, folders)
    refused(lambda: read_any(tmp_path), "no layout that is known", "one folder per class")


@pytest.mark.parametrize("name", ["notes.csv", "a.jpg"])
def test_unheard_folders_stand_alone(tmp_path, name):
    sort_into(tmp_path, ["crow", "owl"])
    picture().save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / name)
    refused(lambda: read_any(tmp_path), "no layout that is known", "neither a picture nor a table")


def test_unknown_class_folder(tmp_path):
    sort_into(tmp_path, ["nv", "moles"])
    lonely(lambda: refused(lambda: read_any(tmp_path), "picture1.jpg", "outside the class folders",
                           "Move it"))


def test_stray_picture(tmp_path):
    sort_into(tmp_path, ["crow", "owl", "images"])
    lonely(
        lambda: refused(lambda: read_any(tmp_path), "picture2.jpg", "folders crow, owl", "Move it")
    )


@pytest.mark.parametrize("names, ids", [
    (["nv/1.jpg", "mel/2.jpg"], ["1", "2"]), (["nv/0.jpg", "mel/0.jpg"], ["mel/0", "nv/0"]),
    (["nv/0.jpg", "nv/0.png", "mel/1.jpg"], ["mel/1.jpg", "nv/0.jpg", "nv/0.png"])])
def test_ids_of_class_folders(tmp_path, names, ids):
    "The name of a file where it tells pictures apart, otherwise its place."
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(i).save(tmp_path / name)
    assert lonely(lambda: read_folder(tmp_path)).image_id.tolist() == ids


# ISIC 2019

COLUMNS_2019 = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]


def isic2019(root, labels, columns=COLUMNS_2019, part="Training", on_disk="{}"):
    "A truth with these labels and its pictures."
    images = [f"ISIC_{part}_{i}" for i in range(len(labels))]
    (root / f"ISIC_2019_{part}_Input").mkdir(parents=True)
    for i, name in enumerate(images):
        picture(i).save(root / f"ISIC_2019_{part}_Input" / f"{on_disk.format(name)}.jpg")
    truth = pd.DataFrame({c: [float(c == label) for label in labels] for c in columns})
    truth.insert(0, "image", images)
    truth.to_csv(root / f"ISIC_2019_{part}_GroundTruth.csv", index=False)
    return images


@pytest.mark.parametrize("columns", [COLUMNS_2019, COLUMNS_2019[:-1], COLUMNS_2019[::-1]])
def test_isic2019(tmp_path, columns):
    isic2019(tmp_path, COLUMNS_2019[:-1], columns)
    table = lonely(lambda: read_any(tmp_path))
    classes = ["mel", "nv", "bcc", "akiec", "bkl", "df", "vasc", "scc"]
    assert table.dx.tolist() == classes and task_of(table) == ISIC2019
    assert left_out_rows(table) == {} and table.lesion_id.is_unique and table.age.isna().all()


def test_isic2019_leaves_out_what_is_none_of_the_eight(tmp_path):
    isic2019(tmp_path, ["UNK", "AK", "UNK", "NV"])
    with pytest.warns(UserWarning, match="2 of class UNK"):
        table, problems = survey(tmp_path)
    assert problems == [] and table.dx.tolist() == ["akiec", "nv"]
    assert left_out_rows(table) == {"UNK": 2}


@pytest.mark.parametrize(
    "names", [dict(AK="AKIEC"), dict(image="image_name"), dict(image="isic_id", UNK="unk")]
)
def test_isic2019_under_other_names(tmp_path, names):
    isic2019(tmp_path, ["AK", "NV", "SCC"])
    truth = tmp_path / "ISIC_2019_Training_GroundTruth.csv"
    pd.read_csv(truth).rename(columns=names).to_csv(truth, index=False)
    assert lonely(lambda: read_any(tmp_path)).dx.tolist() == ["akiec", "nv", "scc"]


@pytest.mark.parametrize("columns", [COLUMNS_2019[:7], [*COLUMNS_2019[:7], "UNK"]])
def test_the_first_seven_classes_of_isic2019(tmp_path, columns):
    isic2019(tmp_path, ["AK", "NV", *columns[7:]], columns, on_disk="{}_downsampled")
    table = lonely(lambda: read_any(tmp_path))
    assert table.dx.tolist() == ["akiec", "nv"] and task_of(table) == HAM10000


def test_people_without_diagnoses(tmp_path):
    picture().save(tmp_path / "a.jpg")
    (tmp_path / "ISIC_2019_Test_Metadata.csv").write_text(
        "image,age_approx,anatom_site_general,sex\na,50,,male\n"
    )
    refused(lambda: read_any(tmp_path), "no column of diagnoses", "--unlabelled")


def test_isic2019_metadata(tmp_path):
    images = isic2019(tmp_path, ["MEL", "NV", "SCC"], on_disk="{}_downsampled")
    file = tmp_path / "ISIC_2019_Training_Metadata.csv"
    file.write_text("image,age_approx,anatom_site_general,lesion_id,sex\n"
                    f"{images[0]},55.0,anterior torso,L_1,female\n{images[1]},,,,\n")
    with pytest.warns(UserWarning, match="2 of 3 pictures have no lesion_id"):
        table = read_any(tmp_path)
    assert table.image_id.tolist() == images and table.lesion_id.tolist() == ["L_1", *images[1:]]
    assert table.age[0] == 55 and table.age.isna().tolist() == [False, True, True]
    assert table.sex.tolist() == ["female", "unknown", "unknown"]
    file.write_text(file.read_text().replace("55.0", "550"))
    with pytest.warns(UserWarning):
        p, = refused(lambda: read_isic2019(tmp_path), "Metadata.csv", "age '550'")
    assert p.row == 2


def test_isic2019_parts(tmp_path):
    isic2019(tmp_path, ["MEL", "NV"])
    isic2019(tmp_path, ["SCC", "UNK"], part="Test")
    refused(lambda: read_any(tmp_path), "2 ground-truth files", "Name a part")
    for part, classes in (("training", ["mel", "nv"]), ("test", ["scc"])):
        assert lonely(lambda: read_isic2019(tmp_path, part)).dx.tolist() == classes


def test_isic2019_broken(tmp_path):
    isic2019(tmp_path, ["MEL", "none"])
    lonely(lambda: refused(lambda: read_any(tmp_path), "row 3", "one 1 and eight 0"))
    refused(lambda: read_isic2018(tmp_path), "the columns of ISIC 2019", "read_isic2019")


# a table of one's own

def own_table(root, rows, **mapping):
    "Rows of file, label, lesion, person, years, gender and what columns.json says about them."
    (root / "photos").mkdir(exist_ok=True)
    names = ["file", "label", "lesion", "person", "years", "gender"]
    table = pd.DataFrame(rows, columns=names[:len(rows[0])])
    for i, name in enumerate(table.file):
        picture(i).save(root / "photos" / name)
    table.to_csv(root / "moles.csv", index=False)
    mapping = dict(image_id="file", dx="label", lesion_id="lesion") | mapping
    (root / "columns.json").write_text(json.dumps(mapping))
    return root


ROWS = [
    ("a.jpg", "MEL", "L1", "P1"),
    ("b.jpg", "Nevus", "L2", "P1"),
    ("c.jpg", "nevus", "L2", "P2"),
    ("d.jpg", "SCC", "L3", "P2"),
    ("e.jpg", "Seborrheic", "L4", "P3"),
]


def test_own_classes(tmp_path):
    table = read_any(own_table(tmp_path, ROWS))
    assert table.dx.tolist() == ["mel", "Nevus", "Nevus", "scc", "Seborrheic"]
    task = task_of(table)
    assert task.classes == ("Nevus", "Seborrheic", "mel", "scc") and task.name == "own"
    assert task.malignant == ("mel", "scc") and task.group == "lesion_id"


def test_own_table_of_known_classes_is_ham10000(tmp_path):
    own_table(tmp_path, ROWS, classes=dict(nevus="NV", scc="mel", seborrheic="Benign keratosis"))
    table = read_any(tmp_path)
    assert table.dx.tolist() == ["mel", "nv", "nv", "mel", "bkl"] and task_of(table) == HAM10000


def test_own_table_leaves_classes_out(tmp_path):
    "Rows and pictures both; a picture that isn't there is nobody's problem."
    own_table(tmp_path, ROWS, classes={"nevus": "nv", "scc ": None, "Seborrheic": None})
    (tmp_path / "photos" / "e.jpg").unlink()
    with pytest.warns(UserWarning, match="1 of class SCC, 1 of class Seborrheic"):
        table, problems = survey(tmp_path)
    assert problems == [] and table.dx.tolist() == ["mel", "nv", "nv"]
    assert left_out_rows(table) == {"SCC": 1, "Seborrheic": 1} and task_of(table) == HAM10000


def test_own_task(tmp_path):
    own_table(tmp_path, ROWS, patient_id="person", group="patient_id", task="moles",
              malignant=["Melanoma", "seborrheic"])
    table = read_any(tmp_path)
    task = task_of(table)
    assert (task.name, task.group, task.malignant) == ("moles", "patient_id", ("Seborrheic", "mel"))
    assert table.patient_id.tolist() == [row[3] for row in ROWS]
    assert table.lesion_id.tolist() == [row[2] for row in ROWS]


def test_own_table_by_patient(tmp_path):
    own_table(tmp_path, ROWS, patient_id="person", group="patient_id",
              classes=dict(nevus="nv", scc="bcc", seborrheic="bkl"))
    assert task_of(read_any(tmp_path)) == task_in_group(HAM10000, "patient_id")
    own_table(tmp_path, [*ROWS[:4], ("e.jpg", "nevus", "L4", "nan")], patient_id="person",
              group="patient_id")
    assert audited(tmp_path, "row 6", "no patient_id for image e").row == 6


def test_gaps_of_own_tables(tmp_path):
    gaps = [*GAPS, *map(str.upper, GAPS[1:]), "None"]
    rows = [(f"{i}.jpg", "nv", f"L{i}", "P", gap, gap) for i, gap in enumerate(gaps)]
    table = read_any(own_table(tmp_path, rows, age="years", sex="gender", localization="years"))
    assert table.age.isna().all() and set(table.sex) == set(table.localization) == {"unknown"}
    own_table(tmp_path, [*rows, ("gap.jpg", "NA", "None", "P", "", "")])
    with pytest.warns(UserWarning, match=f"1 of {len(gaps) + 1} pictures have no lesion_id"):
        table, problems = survey(tmp_path)
    assert [p.found for p in problems] == ["no class for image gap"]
    assert table.lesion_id.tolist() == [*(f"L{i}" for i in range(len(gaps))), "gap"]


def test_pictures_of_unknown_lesions_are_not_of_one(tmp_path):
    words = ["unknown", "Unknown", "-", "?", "#N/A", "L1"]
    own_table(tmp_path, [(f"{i}.jpg", "nv", word, word) for i, word in enumerate(words)],
              patient_id="person")
    with pytest.warns(UserWarning, match="5 of 6 pictures have no lesion_id"):
        table = read_any(tmp_path)
    assert table.lesion_id.tolist() == [*"01234", "L1"] and set(table.patient_id) == {"", "L1"}


def test_own_table_leaves_rows_without_a_class_out(tmp_path):
    "As the problem with these rows says."
    rows = [*ROWS, ("f.jpg", "", "L5", "P4"), ("g.jpg", "NA", "L6", "P4")]
    problem, = survey(own_table(tmp_path, rows))[1][:1]
    assert '{"classes": {"": null}}' in problem.fix
    with pytest.warns(UserWarning, match=r"1 of class \(empty\)") as told:
        table = read_any(own_table(tmp_path, rows, classes={"": None}))
    assert len(table) == len(ROWS) and left_out_rows(table) == {"(empty)": 1, "NA": 1}
    assert not any("explains" in str(warning.message) for warning in told)


def test_capitals_make_no_other_site(tmp_path):
    "A clinic's own words stay as they are written, and a model knows them in any capitals."
    words = ["Lower Extremity", "FACE", "Gesäß", "Unknown"]
    own_table(
        tmp_path,
        [(f"{i}.jpg", "nv", f"L{i}", "HISTO", word, "Male") for i, word in enumerate(words)],
        localization="years",
        dx_type="person",
    )
    table = read_any(tmp_path)
    assert table.localization.tolist() == ["lower extremity", "face", "Gesäß", "unknown"]
    assert set(table.dx_type) == {"histo"}
    encoder = fit_metadata(table)
    told = table.assign(localization=table.localization.str.upper())
    assert (encode_metadata(encoder, told) == encode_metadata(encoder, table)).all()


def test_columns_beside_class_folders(tmp_path):
    sort_into(tmp_path, ["nv", "mel", "healthy"])
    (tmp_path / "columns.json").write_text('{"classes": {"healthy": null}}')
    refused(lambda: read_any(tmp_path), "0 tables", "move columns.json away")


@pytest.mark.parametrize("mapping, found", [
    (dict(group="lesion"), "group 'lesion'"), (dict(group="patient_id"), "no patient_id"),
    (dict(malignant=["wart"]), "malignant: wart"), (dict(malignant="mel"), 'malignant: "mel"'),
    (dict(classes=["nv"]), "classes: ["), (dict(classes=dict(SCC=1)), "or null for a class"),
    (dict(classes=dict(SCC="null")), "null without quotation marks"),
    (dict(classes=dict(SCC="")), "'SCC' called ''"),
    (dict(sexes=dict(u=None)), "sexes: {"), (dict(task="my task"), "task 'my task'"),
    (dict(task="ham10000"), "task 'ham10000' with Nevus, Seborrheic, scc"), (dict(age=3), "age: 3"),
    (dict(classes={row[1]: None for row in ROWS}), "no class"),
    (dict(classes={row[1]: "wart" for row in ROWS}), "class 'wart' only")])
def test_own_table_says_what_cant_be(tmp_path, mapping, found):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(lambda: read_any(own_table(tmp_path, ROWS, **mapping)), found)


# rows and files

def test_row_without_file(ham):
    ham.file(5).unlink()
    assert audited(ham.root, IDS[5], "no file", "remove the row").row == 7


def test_file_without_row(ham):
    ham.rows = ham.rows.drop(index=5)
    ham.write()
    refused(lambda: read_ham10000(ham.root), ham.file(5), "without a row", "move the file away")
    audited(ham.root, IDS[5], "without a row")


def test_no_picture_at_all(ham):
    for i in range(N):
        ham.file(i).unlink()
    audited(ham.root, ham.root, "no picture", "Unpack")


def test_masks_and_test_pictures_are_passed_over(ham):
    for name in "HAM10000_segmentations_lesion_tschandl", "ISIC2018_Task3_Test_Images":
        (ham.root / name).mkdir()
        picture().save(ham.root / name / "other.png")
    assert find_problems(ham.root) == []


def test_two_pictures_of_one_name(ham):
    picture(99, (90, 60)).save(ham.root / f"{IDS[0]}.jpg")
    audited(ham.root, IDS[0], "unlike", "remove the picture that is wrong")


# pictures

BROKEN = {
    "truncated": (lambda f: f.write_bytes(f.read_bytes()[:400]), "truncated or damaged"),
    "empty": (lambda f: f.write_bytes(b""), "an empty file"),
    "no picture": (lambda f: f.write_bytes(b"<html>Please log in</html>" * 9), "no picture"),
    "too small": (lambda f: picture(size=(12, 9)).save(f), "12 × 9"),
    "too large": (lambda f: Image.new("L", (20_001, 20)).save(f), "20001 × 20"),
    "a bomb": (lambda f: Image.new("1", (19_000, 19_000)).save(f, "PNG"), "pixels")}


@pytest.mark.parametrize("how", BROKEN)
def test_picture_that_cant_be_used(ham, how, tmp_path):
    damage, found = BROKEN[how]
    damage(ham.file(7))
    problem = audited(ham.root, f"{IDS[7]} (line 9 of the table)", found)
    assert problem.file == str(ham.file(7)) and problem.fix
    refused(lambda: open_image(ham.file(7)), ham.file(7), found)
    table = read_ham10000(ham.root)
    refused(lambda: decode_images(table, 32, folder=tmp_path / "cache"), IDS[7], found)


def test_all_broken_pictures_at_once(ham, tmp_path):
    for i, (damage, _) in enumerate(BROKEN.values()):
        damage(ham.file(i))
    assert len(find_problems(ham.root)) == len(BROKEN)
    table = read_ham10000(ham.root)
    problems = refused(lambda: decode_images(table, 32, folder=tmp_path / "cache"),
                       f"{len(BROKEN)} problems")
    assert len(problems) == len(BROKEN)


@pytest.mark.parametrize("kind, mode, suffix", [
    ("palette", "P", "PNG"), ("grey", "L", "JPEG"), ("cmyk", "CMYK", "JPEG"),
    ("transparent", "RGBA", "PNG")])
def test_announced_conversion(ham, kind, mode, suffix):
    picture(3).convert(mode).save(ham.file(3), suffix)
    with pytest.warns(UserWarning, match=CONVERSIONS[kind]):
        assert find_problems(ham.root) == []
    with pytest.warns(UserWarning):
        im = np.asarray(open_image(ham.file(3))).astype(int)
    wanted = picture(3).convert("L").convert("RGB") if kind == "grey" else picture(3)
    assert np.abs(im - np.asarray(wanted).astype(int)).mean() < 25


def test_sixteen_bit_picture_is_scaled_not_clipped(ham):
    deep = np.linspace(0, 65535, 45 * 60).astype("uint16").reshape(45, 60)
    Image.fromarray(deep).save(ham.file(3), "PNG")
    with pytest.warns(UserWarning, match="divided by 257"):
        im = open_image(ham.file(3))
    assert im.getextrema() == ((0, 255),) * 3
    assert np.abs(np.asarray(im)[..., 0] - deep / 257).max() <= .5


def test_orientation_mark_is_obeyed(ham):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(3).save(ham.file(3), exif=exif)
    with pytest.warns(UserWarning, match="EXIF"):
        assert open_image(ham.file(3)).size == (45, 60)


# splits

def test_too_few_lesions(ham):
    refused(
        lambda: split_by_lesion(read_ham10000(ham.root)),
        "1 lesions of class akiec",
        "at least 5",
        "Add pictures",
    )
    refused(lambda: split_by_image(read_ham10000(ham.root)), "2 images of class akiec")


# the real data

@pytest.fixture(scope="module")
def real(real_data):
    return read_ham10000(real_data)


def test_real_table(real):
    counts, age = class_counts(real), real.age
    assert len(real) == 10_015 and real.lesion_id.nunique() == 7_470
    assert counts.images.tolist() == [327, 514, 1099, 115, 1113, 6705, 142]
    assert counts.lesions.tolist() == [228, 327, 727, 73, 614, 5403, 98]
    assert age.notna().sum() == 9_958
    assert round(age.mean(), 6) == 51.863828 and round(age.std(), 6) == 16.968614
    assert age.quantile([0, .25, .5, .75, 1]).tolist() == [0, 40, 50, 65, 85]
    assert (real.localization == "unknown").sum() == 234
    confirmed = dict(histo=5340, follow_up=3704, consensus=902, confocal=69)
    assert real.dx_type.value_counts().to_dict() == confirmed


def test_real_published_split(real):
    table = split_by_image(real)
    test = table[table.split == "test"]
    counts = test.dx.value_counts()[list(HAM10000.classes)]
    assert len(test) == 2_003 and counts.tolist() == [65, 103, 220, 23, 223, 1341, 28]
    assert lesions_shared(table) > 0


def test_real_lesion_folds(real):
    folds = [split_by_lesion(real, k) for k in range(5)]
    assert all(lesions_shared(f) == 0 for f in folds)
    assert (sum((f.split == "test").astype(int) for f in folds) == 1).all()
    train = folds[0][folds[0].split == "train"]
    assert 19 <= encode_metadata(fit_metadata(train), real).shape[1] <= 20
