"Every way in which a folder of pictures can be broken: one test a case. Each error names the file, the row or image, and what to do."
import numpy as np, pandas as pd, pytest
from PIL import Image
from skin_nb.core import CLASSES, DataError
from skin_nb.pictures import CONVERSIONS, decode_images, open_image
from skin_nb.preparation import fit_metadata, encode_metadata, lesions_shared, split_by_image, split_by_lesion
from skin_nb.readers import find_problems, read_any, read_folder, read_ham10000, read_isic2018
from skin_nb.understanding import class_counts

N = 14
IDS = [f"ISIC_{i:07}" for i in range(1, N + 1)]

def picture(i=0, size=(60, 45)): return Image.fromarray(np.random.default_rng(i).integers(60, 220, (*size[::-1], 3), "uint8"))

class Folder:
    "A small HAM10000: picture i belongs to line i + 2 of the table."
    def __init__(self, root):
        self.root, self.csv = root, root / "HAM10000_metadata.csv"
        for k in 1, 2: (root / f"HAM10000_images_part_{k}").mkdir(parents=True)
        for i in range(N): picture(i).save(self.file(i))
        self.rows = pd.DataFrame(dict(lesion_id=[f"HAM_{i // 2:07}" for i in range(N)], image_id=IDS, dx=[CLASSES[i // 2] for i in range(N)], dx_type="histo",
                                      age=[str(5 * i) for i in range(N)], sex=["male", "female"] * (N // 2), localization="back"))
        self.write()

    def file(self, i): return self.root / f"HAM10000_images_part_{1 + i % 2}" / f"{IDS[i]}.jpg"
    def write(self, **how): self.rows.to_csv(self.csv, index=False, **how)
    def set(self, i, **cells):
        for c, v in cells.items(): self.rows.loc[i, c] = v
        self.write()

@pytest.fixture
def ham(tmp_path): return Folder(tmp_path / "ham")

def refused(call, *said):
    "The problems of the `DataError`; between them they say all of `said`, and each has a remedy."
    with pytest.raises(DataError) as e: call()
    for text in said: assert str(text) in str(e.value)
    assert all(p.fix and p.expected and p.file for p in e.value.problems)
    return e.value.problems

def audited(root, row, *said):
    "`find_problems` has exactly one problem, which names row and words."
    problem, = find_problems(root)
    for text in (row, *said): assert str(text) in str(problem), problem
    return problem

def test_a_folder_in_order(ham):
    table = read_ham10000(ham.root)
    assert list(table.image_id) == IDS and find_problems(ham.root) == [] and table.age.tolist() == [5. * i for i in range(N)]

# the folder and the table

def test_missing_folder(tmp_path):
    for read in read_ham10000, read_isic2018, read_folder, read_any:
        p, = refused(lambda: read(tmp_path / "nowhere"), "nowhere", "no such folder", "Check the path")
    audited(tmp_path / "nowhere", "nowhere", "no such folder")

def test_unknown_layout(tmp_path):
    picture().save(tmp_path / "a.jpg")
    refused(lambda: read_any(tmp_path), tmp_path, "HAM10000_metadata.csv", "ISIC 2018", "one folder per class")

def test_missing_table(ham):
    ham.csv.unlink()
    refused(lambda: read_ham10000(ham.root), ham.root, "HAM10000_metadata.csv", "beside its pictures")

def test_missing_column(ham):
    ham.rows = ham.rows.drop(columns=["age", "dx"]); ham.write()
    p, = refused(lambda: read_ham10000(ham.root), ham.csv, "no column dx, age", "Add what is missing")
    assert p.row == 1

def test_missing_column_of_the_challenge(tmp_path):
    picture().save(tmp_path / "ISIC_1.jpg")
    (tmp_path / "truth.csv").write_text("image,MEL,NV,BCC,AKIEC,BKL,DF\nISIC_1,1,0,0,0,0,0\n")
    refused(lambda: read_any(tmp_path), "truth.csv", "no column VASC")

@pytest.mark.parametrize("text, said", [("", "empty file"), ("lesion_id,image_id,dx,dx_type,age,sex,localization\n", "empty table")])
def test_empty_table(ham, text, said):
    ham.csv.write_text(text)
    refused(lambda: read_ham10000(ham.root), ham.csv, said, "fresh copy")

def test_not_utf8(ham):
    ham.set(3, localization="Gesäß"); ham.write(encoding="latin-1")
    p, = refused(lambda: read_ham10000(ham.root), ham.csv, "isn't UTF-8", "CSV UTF-8")
    assert p.row == 5

def test_utf8_with_a_mark_is_fine(ham):
    ham.set(3, localization="Gesäß"); ham.write(encoding="utf-8-sig")
    assert read_ham10000(ham.root).localization[3] == "Gesäß"

def test_semicolons(ham):
    ham.write(sep=";")
    p, = refused(lambda: read_ham10000(ham.root), ham.csv, "semicolons", "commas")
    assert p.row == 1

def test_row_with_a_cell_too_many(ham):
    lines = ham.csv.read_text().splitlines(); lines[4] += ",extra"; ham.csv.write_text("\n".join(lines))
    problems = refused(lambda: read_ham10000(ham.root), ham.csv, "8 cells")
    assert problems[0].row == 5

# cells

def test_unknown_class(ham):
    ham.set(4, dx="melanoma")
    assert audited(ham.root, IDS[4], "'melanoma'", "one of akiec", "Correct the cell").row == 6
    refused(lambda: read_ham10000(ham.root), ham.csv, "row 6")

def test_unknown_class_folder(tmp_path):
    for name in "nv", "moles": (tmp_path / name).mkdir(); picture().save(tmp_path / name / f"{name}.jpg")
    refused(lambda: read_any(tmp_path), "moles.jpg", "outside the class folders", "Move it")

def test_no_class_or_two(tmp_path):
    for i in 1, 2: picture().save(tmp_path / f"ISIC_{i}.jpg")
    (tmp_path / "truth.csv").write_text("image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_1,1,0,0,0,0,0,1\nISIC_2,0,0,0,0,0,0,0\n")
    assert [p.row for p in refused(lambda: read_isic2018(tmp_path), "truth.csv", "ISIC_1", "one 1 and six 0")] == [2, 3]

def test_duplicate_image_id(ham):
    ham.rows = pd.concat([ham.rows, ham.rows.iloc[[2]]]); ham.write()
    assert audited(ham.root, IDS[2], "a second time", "Remove one").row == N + 2

def test_duplicate_name_in_class_folders(tmp_path):
    for name in "nv", "mel": (tmp_path / name).mkdir(); picture().save(tmp_path / name / "one.jpg")
    refused(lambda: read_folder(tmp_path), "one", "a second time", "Rename")

@pytest.mark.parametrize("age", ["-5", "230", "forty", "inf"])
def test_absurd_age(ham, age):
    ham.set(6, age=age)
    assert audited(ham.root, IDS[6], repr(age), "0 to 120", "empty it").row == 8

def test_gaps_are_no_problem(ham):
    ham.set(0, age="", sex="", localization=""); ham.set(1, sex="unknown", localization="unknown")
    table = read_ham10000(ham.root)
    assert np.isnan(table.age[0]) and table.sex.tolist()[:2] == table.localization.tolist()[:2] == ["unknown", "unknown"]
    assert np.isfinite(encode_metadata(fit_metadata(table), table)).all()

# rows and files

def test_row_without_file(ham):
    ham.file(5).unlink()
    assert audited(ham.root, IDS[5], "no file", "remove the row").row == 7

def test_file_without_row(ham):
    ham.rows = ham.rows.drop(index=5); ham.write()
    refused(lambda: read_ham10000(ham.root), ham.file(5), "without a row", "move the file away")
    audited(ham.root, IDS[5], "without a row")

def test_no_picture_at_all(ham):
    for i in range(N): ham.file(i).unlink()
    audited(ham.root, ham.root, "no picture", "Unpack")

def test_masks_and_test_pictures_are_passed_over(ham):
    for name in "HAM10000_segmentations_lesion_tschandl", "ISIC2018_Task3_Test_Images": (ham.root / name).mkdir(); picture().save(ham.root / name / "other.png")
    assert find_problems(ham.root) == []

def test_two_pictures_of_one_name(ham):
    picture(99, (90, 60)).save(ham.root / f"{IDS[0]}.jpg")
    audited(ham.root, IDS[0], "unlike", "Remove the wrong one")

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
    damage, said = BROKEN[how]
    damage(ham.file(7))
    problem = audited(ham.root, f"{IDS[7]} (line 9 of the table)", said)
    assert problem.file == str(ham.file(7)) and problem.fix
    refused(lambda: open_image(ham.file(7)), ham.file(7), said)
    refused(lambda: decode_images(read_ham10000(ham.root), 32, folder=tmp_path / "cache"), IDS[7], said)

def test_all_broken_pictures_at_once(ham, tmp_path):
    for i, (damage, _) in enumerate(BROKEN.values()): damage(ham.file(i))
    assert len(find_problems(ham.root)) == len(BROKEN)
    assert len(refused(lambda: decode_images(read_ham10000(ham.root), 32, folder=tmp_path / "cache"), f"{len(BROKEN)} problems")) == len(BROKEN)

@pytest.mark.parametrize("kind, mode, suffix", [("palette", "P", "PNG"), ("grey", "L", "JPEG"), ("cmyk", "CMYK", "JPEG"), ("transparent", "RGBA", "PNG")])
def test_announced_conversion(ham, kind, mode, suffix):
    picture(3).convert(mode).save(ham.file(3), suffix)
    with pytest.warns(UserWarning, match=CONVERSIONS[kind]): assert find_problems(ham.root) == []
    with pytest.warns(UserWarning): im = np.asarray(open_image(ham.file(3))).astype(int)
    wanted = np.asarray(picture(3).convert("L").convert("RGB") if kind == "grey" else picture(3)).astype(int)
    assert np.abs(im - wanted).mean() < 25

def test_sixteen_bit_picture_is_scaled_not_clipped(ham):
    deep = np.linspace(0, 65535, 45 * 60).astype("uint16").reshape(45, 60)
    Image.fromarray(deep).save(ham.file(3), "PNG")
    with pytest.warns(UserWarning, match="divided by 257"): im = open_image(ham.file(3))
    assert im.getextrema() == ((0, 255),) * 3 and np.abs(np.asarray(im)[..., 0] - deep / 257).max() <= .5

def test_orientation_mark_is_obeyed(ham):
    exif = Image.Exif(); exif[0x0112] = 6
    picture(3).save(ham.file(3), exif=exif)
    with pytest.warns(UserWarning, match="EXIF"): assert open_image(ham.file(3)).size == (45, 60)

# splits

def test_too_few_lesions(ham):
    refused(lambda: split_by_lesion(read_ham10000(ham.root)), "1 lesions of class akiec", "at least 5", "Add pictures")
    refused(lambda: split_by_image(read_ham10000(ham.root)), "2 images of class akiec")

# the real data

@pytest.fixture(scope="module")
def real(real_data): return read_ham10000(real_data)

def test_real_table(real):
    counts, age = class_counts(real), real.age
    assert len(real) == 10_015 and real.lesion_id.nunique() == 7_470
    assert counts.images.tolist() == [327, 514, 1099, 115, 1113, 6705, 142] and counts.lesions.tolist() == [228, 327, 727, 73, 614, 5403, 98]
    assert age.notna().sum() == 9_958 and round(age.mean(), 6) == 51.863828 and round(age.std(), 6) == 16.968614
    assert age.quantile([0, .25, .5, .75, 1]).tolist() == [0, 40, 50, 65, 85]
    assert (real.localization == "unknown").sum() == 234
    assert real.dx_type.value_counts().to_dict() == dict(histo=5340, follow_up=3704, consensus=902, confocal=69)

def test_real_published_split(real):
    table = split_by_image(real)
    test = table[table.split == "test"]
    assert len(test) == 2_003 and test.dx.value_counts()[list(CLASSES)].tolist() == [65, 103, 220, 23, 223, 1341, 28]
    assert lesions_shared(table) > 0

def test_real_lesion_folds(real):
    folds = [split_by_lesion(real, k) for k in range(5)]
    assert all(lesions_shared(f) == 0 for f in folds)
    assert (sum((f.split == "test").astype(int) for f in folds) == 1).all()
    assert 19 <= encode_metadata(fit_metadata(folds[0][folds[0].split == "train"]), real).shape[1] <= 20
