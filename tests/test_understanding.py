"""Readers of other layouts, the quality standards, figures that say what they show,
doubles among pictures; and the published figures of HAM10000."""
import io
import json
import warnings
from functools import partial
from pathlib import Path

import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skin_nb import understanding as u
from skin_nb.core import DataError, read_json
from skin_nb.pictures import decode_images
from skin_nb.pixels import (
    AGREE, PAIR_COLUMNS, background_auc, likeness, mean_by_class, mean_colours, near_duplicates,
    perceptual_hashes, pixel_facts, plot_colours, plot_lesion_area, plot_mean_lesions, plot_pairs,
    read_masks, to_lab, twins)
from skin_nb.own_data import read_folder, read_own_table
from skin_nb.readers import find_problems, read_any, read_ham10000, read_isic2018
from skin_nb.sample import sample_folder
from skin_nb.tasks import HAM10000, ISIC2019, as_melanoma, task_of_classes, with_task

CLASSES = HAM10000.classes
ORDER = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]


@pytest.fixture(scope="module")
def table():
    return read_ham10000(sample_folder())


@pytest.fixture(scope="module")
def images(table):
    return np.asarray(decode_images(table, 96))


@pytest.fixture(scope="module")
def masks(table):
    return read_masks(table, 96)


def three_classes(table):
    "The table with three classes that nobody registered, none of them known to be malignant."
    dx = table.dx.map({"nv": "mole", "mel": "dark"}).fillna("odd")
    return with_task(table.assign(dx=dx), task_of_classes(set(dx)))


VIEWS = {"seven classes": lambda table: table, "melanoma": as_melanoma, "three": three_classes}
each_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)


def refused(call, *texts):
    with pytest.raises(DataError) as e:
        call()
    for text in texts:
        assert str(text) in str(e.value)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


# readers

def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(60, 220, (45, 60, 3), "uint8")
    Image.fromarray(noise).save(path)


def challenge(root, part, classes, columns=ORDER, first=1):
    "A part of the challenge; image i is called ISIC_000000i."
    ids = [f"ISIC_{first + i:07}" for i in range(len(classes))]
    name = f"ISIC2018_Task3_{part}"
    for i in ids:
        picture(root / f"{name}_Input" / f"{i}.jpg", int(i[-3:]))
    (root / f"{name}_GroundTruth").mkdir()
    marks = {c: [float(c.lower() == dx) for dx in classes] for c in columns}
    truth = pd.DataFrame(marks, index=pd.Index(ids, name="image"))
    truth.to_csv(root / f"{name}_GroundTruth" / f"{name}_GroundTruth.csv")


def alone(read, *arguments):
    "Read what has no lesion ids, and expect to be told."
    with pytest.warns(UserWarning, match="lesion of its own"):
        return read(*arguments)


def quietly(read, *arguments):
    "Read where there is nothing to warn of."
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read(*arguments)


@pytest.mark.parametrize("part", ["Training", "Validation", "Test"])
def test_parts_of_the_challenge(tmp_path, part):
    challenge(tmp_path, part, CLASSES, columns=ORDER[::-1])
    table = alone(read_isic2018, tmp_path)
    assert table.dx.tolist() == list(CLASSES)
    assert table.lesion_id.is_unique
    assert table.age.isna().all()
    assert set(table.sex) == {"unknown"}
    assert alone(read_any, tmp_path).equals(table)
    assert alone(find_problems, tmp_path) == []


GROUPINGS = """image,lesion_id,diagnosis_confirm_type
ISIC_0000001,HAM_1,histopathology
ISIC_0000002,HAM_1,serial imaging showing no change
ISIC_0000003,HAM_2,single image expert consensus
"""


def test_parts_side_by_side(tmp_path):
    challenge(tmp_path, "Training", ["nv", "nv", "mel"])
    challenge(tmp_path, "Test", ["df"], first=50)
    refused(lambda: read_isic2018(tmp_path), "2 ground-truth files", "Name a part")
    refused(lambda: read_isic2018(tmp_path, "validation"), "'validation'")
    (tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text(GROUPINGS)
    training = quietly(read_isic2018, tmp_path, "training")
    assert training.lesion_id.tolist() == ["HAM_1", "HAM_1", "HAM_2"]
    assert training.dx_type.tolist() == ["histo", "follow_up", "consensus"]
    assert alone(read_isic2018, tmp_path, "test").image_id.tolist() == ["ISIC_0000050"]


def own(root, rows, mapping, name="moles.csv"):
    "A clinic's folder: a table, columns.json, pictures named after the first column."
    for r in rows:
        picture(root / "photos" / f"{Path(str(r[0])).stem}.jpg")
    columns = ["file", "label", "lesion", "years", "gender", "site"]
    pd.DataFrame(rows, columns=columns[:len(rows[0])]).to_csv(root / name, index=False)
    (root / "columns.json").write_text(json.dumps(mapping))


MAPPING = dict(image_id="file", dx="label", classes={"Melanoma": "mel", "naevus": "nv"},
               sexes=dict(f="female", m="male"))
WHOLE_MAPPING = dict(MAPPING, lesion_id="lesion", age="years", sex="gender", localization="site")


def test_own_table(tmp_path):
    own(tmp_path, [("p1.JPG", "melanoma", "L1", 51, "F", "left ear"),
                   ("sub/p2.jpg", "Naevus", "L3", "", "m", ""),
                   ("p3", "DF", "L2", 70, "", "back")], WHOLE_MAPPING)
    table = quietly(read_own_table, tmp_path)
    assert table.image_id.tolist() == ["p1", "p2", "p3"]
    assert table.dx.tolist() == ["mel", "nv", "df"]
    assert table.lesion_id.tolist() == ["L1", "L3", "L2"]
    assert table.sex.tolist() == ["female", "male", "unknown"]
    assert table.localization.tolist() == ["left ear", "unknown", "back"]
    assert table.age.fillna(-1).tolist() == [51, -1, 70]
    assert set(table.dx_type) == {"unknown"}
    assert read_any(tmp_path).equals(table)
    assert find_problems(tmp_path) == []


def test_own_table_without_lesions(tmp_path):
    own(tmp_path, [("p1.jpg", "melanoma"), ("p2.jpg", "naevus")], MAPPING)
    assert alone(read_own_table, tmp_path).lesion_id.tolist() == ["p1", "p2"]


@pytest.mark.parametrize("mapping, text", [
    (dict(MAPPING, age="jahre"), "no column jahre"),
    (dict(image_id="file"), "no column dx"),
    (dict(MAPPING, colour="x"), "the keys"),
    ([1], "no object"),
    (dict(MAPPING, table="other.csv"), "other.csv: found no such file")])
def test_own_table_broken(tmp_path, mapping, text):
    own(tmp_path, [("p1.jpg", "wart")], mapping)
    with warnings.catch_warnings(record=True):
        refused(lambda: read_own_table(tmp_path), text)


def test_own_table_of_one_class(tmp_path):
    own(tmp_path, [("p1.jpg", "wart")], dict(image_id="file", dx="label"))
    with warnings.catch_warnings(record=True):
        refused(lambda: read_own_table(tmp_path), "wart")


def test_own_table_rows_and_files(tmp_path):
    own(tmp_path, [("p1.jpg", "nv"), ("p2.jpg", "nv")], MAPPING)
    (tmp_path / "photos" / "p2.jpg").rename(tmp_path / "photos" / "p9.jpg")
    with warnings.catch_warnings(record=True):
        refused(lambda: read_own_table(tmp_path),
                "p2, which has no file", "p9.jpg", "without a row")
    (tmp_path / "columns.json").write_text("{")
    refused(lambda: read_own_table(tmp_path), "broken JSON")


def test_class_folders_say_that_lesions_are_unknown(tmp_path):
    picture(tmp_path / "nv" / "a.jpg")
    picture(tmp_path / "mel" / "b.jpg", 1)
    assert alone(read_folder, tmp_path).lesion_id.is_unique


# the dictionary and the quality standards

def test_dictionary_covers_the_table(table):
    d = u.data_dictionary()
    assert list(d.index) == list(table.columns)
    assert (d[["type", "allowed", "missing", "meaning", "source"]] != "").all(axis=None)
    assert d.unit["age"] == "years"


SLIPS = [("dx", "wart"), ("dx_type", "guess"), ("age", 130.), ("age", -1.), ("sex", "f"),
         ("localization", "left ear"), ("lesion_id", ""), ("path", None)]


def with_cell(table, column, value):
    table = table.copy()
    table.loc[7, column] = value
    return table


@pytest.mark.parametrize("column, value", SLIPS)
def test_schema_finds_a_slip(table, column, value):
    wrong = u.schema_failures(with_cell(table, column, value))
    assert (wrong.column.item(), wrong["index"].item()) == (column, 7)
    assert not len(u.schema_failures(table))


def test_schema_wants_each_image_once(table):
    twice = with_task(pd.concat([table, table.head(2)], ignore_index=True), HAM10000)
    assert set(u.schema_failures(twice).column) == {"image_id"}


@each_view
def test_dictionary_is_that_of_the_task(table, view):
    seen = view(table)
    assert not len(u.schema_failures(seen))
    assert u.schema_failures(with_cell(seen, "dx", "wart")).column.item() == "dx"


def test_sites_are_a_closed_list_only_in_ham10000(table):
    strange = with_cell(table, "localization", "left ear")
    assert u.schema_failures(strange).column.item() == "localization"
    for free in (as_melanoma(strange), three_classes(strange), with_task(strange, ISIC2019)):
        assert not len(u.schema_failures(free))
    assert u.data_dictionary(ISIC2019).allowed["localization"] == "not empty"
    assert "scc" in u.data_dictionary(ISIC2019).allowed["dx"]


@pytest.fixture(scope="module")
def good(table):
    "A table that meets every standard: 50 lesions a class, two pictures of some, all ages."
    n = 350
    seven = np.arange(n) // 7
    ages = 10. + 20 * (seven % 5) - 5 * (np.arange(n) % 5 == 4)
    lesions = pd.DataFrame(dict(
        lesion_id=[f"HAM_{i:07}" for i in range(n)], dx=np.resize(CLASSES, n), dx_type="histo",
        age=ages.clip(max=85), sex=["male", "female"] * (n // 2), localization="back"))
    twice = 1 + (np.random.default_rng(0).random(n) < .2)
    rows = lesions.loc[lesions.index.repeat(twice)].reset_index(drop=True)
    ids = [f"ISIC_{i:07}" for i in range(len(rows))]
    return with_task(rows.assign(image_id=ids, path=table.path[0]), HAM10000)


def first_row(column, value):
    "A way to break a table: one cell."
    def broken(table, tmp_path):
        return table.assign(**{column: [value, *table[column][1:]]})
    return broken


def all_rows(column, value):
    "A way to break a table: a whole column."
    def broken(table, tmp_path):
        return table.assign(**{column: value})
    return broken


def repeated_picture(table, tmp_path):
    return table.assign(image_id=[table.image_id[1], *table.image_id[1:]])


def unknown_sexes(table, tmp_path):
    return table.assign(sex=table.sex.where(table.index > 40, "unknown"))


def signed_picture(table, tmp_path):
    tag = Image.Exif()
    tag[0x13B] = "Dr. Huber"
    Image.open(table.path[0]).save(tmp_path / "signed.jpg", exif=tag)
    return table.assign(path=[str(tmp_path / "signed.jpg"), *table.path[1:]])


def one_old(table, tmp_path):
    return table.assign(age=table.age.where(table.index > 0, 93))


def few_of_a_class(n, dx="df"):
    "A way to break a table: only so many rows of a class."
    def broken(table, tmp_path):
        return table[(table.dx != dx) | ((table.dx == dx).cumsum() <= n)]
    return broken


CHECKS = {  # the start of a check: how to break it
    "every cell obeys": first_row("age", 130.),
    "90% of the diagnoses": all_rows("dx_type", "consensus"),
    "no column lacks": unknown_sexes,
    "every row has its picture": first_row("path", "none.jpg"),
    "no picture twice": repeated_picture,
    "the pictures of a lesion agree on dx": all_rows("lesion_id", "HAM_1"),
    "the pictures of a lesion agree on sex": all_rows("lesion_id", "HAM_1"),
    "the pictures of a lesion agree on age": all_rows("lesion_id", "HAM_1"),
    "the pictures of a lesion agree on loc": first_row("lesion_id", "HAM_0000001"),
    "no columns but": all_rows("name", "Maria Huber"),
    "ids are codes": first_row("image_id", "Huber, Maria"),
    "ages in steps": one_old,
    "no author": signed_picture,
    "no class 10 times": few_of_a_class(5),
    "50 lesions": few_of_a_class(40),
    "neither sex": all_rows("sex", "male"),
    "no age group": all_rows("age", 50.)}


def is_met(table, check):
    checks = u.quality_checks(table)
    return checks.met[checks.check.str.startswith(check)].item()


@pytest.mark.parametrize("check", CHECKS)
def test_quality_both_ways(good, check, tmp_path):
    "Each check is met by a good table and missed by one broken on purpose."
    if check.endswith("loc"):
        good = good.assign(localization=["face", *good.localization[1:]])
    assert is_met(good, check)
    assert not is_met(CHECKS[check](good, tmp_path), check)


def test_every_check_is_tested(good):
    q = u.quality_checks(good)
    for check in q.check:
        assert sum(check.startswith(start) for start in CHECKS) == 1
    assert set(q.standard) == set(u.STANDARDS)
    assert u.format_quality(q).endswith(f"{len(q)} of {len(q)} quality checks met")


def test_quality_of_a_table_that_knows_nothing(tmp_path):
    challenge(tmp_path, "Test", ["nv", "mel"])
    checks = u.quality_checks(alone(read_any, tmp_path)).set_index("check")
    assert not checks.met["no column lacks more than 5%"]
    assert not checks.met["neither sex under 40%"]
    assert checks.met["every row has its picture"]
    assert checks.found["neither sex under 40%"] == "no sexes"


def test_shares_are_not_rounded_before_they_are_compared(table):
    three = table[:3].assign(age=[np.nan, 45., 45.])
    assert u.missing_values(three).share["age"] == 1 / 3


@each_view
def test_quality_of_any_task(good, view):
    assert u.quality_checks(view(good)).met.all()
    assert set(u.class_counts(view(good)).index) == set(view(good).dx)


# numbers and figures

def test_age_groups():
    ages = pd.Series([0, 20, 21, 40, 41, 60, 61, 80, 81, 100, np.nan])
    groups = u.age_group(ages)
    assert groups.tolist()[:10] == [g for g in u.AGE_GROUPS for _ in range(2)]
    assert pd.isna(groups.iloc[10])


def test_shared_information_is_sklearns():
    from sklearn.metrics import mutual_info_score
    rng = np.random.default_rng(0)
    a = pd.Series(rng.integers(0, 4, 500))
    b = pd.Series(rng.integers(0, 3, 500)).where(a != 0, 0)
    theirs = mutual_info_score(a, b) / mutual_info_score(b, b)
    assert u.shared_information(a, b) == pytest.approx(theirs)


FIGURES = {
    "class counts": u.plot_class_counts, "ages": u.plot_ages,
    "sexes": partial(u.plot_counts, column="sex"),
    "sites": partial(u.plot_counts, column="localization"),
    "by sex": u.plot_by_sex, "by age group": u.plot_by_age_group, "age box": u.plot_age_box,
    "by site": u.plot_sites, "by site, shares": partial(u.plot_sites, shares=True),
    "samples": partial(u.plot_samples, n=2), "aspect ratios": u.plot_aspect_ratios,
    "information": u.plot_information}


@each_view
@pytest.mark.parametrize("name", FIGURES)
def test_figures_name_their_axes(table, name, view):
    ax = FIGURES[name](view(table))
    assert ax.get_title() and ax.get_xlabel()
    assert ax.get_ylabel() or name == "information"


NEEDS = {"ages": "age", "by sex": "sex", "by age group": "age", "age box": "age",
         "by site": "localization", "by site, shares": "localization"}


@pytest.mark.parametrize("name", NEEDS)
def test_figures_of_pictures_of_unknown_people(table, name):
    unknown = table.assign(age=np.nan, sex="unknown", localization="unknown")
    assert FIGURES[name](unknown).get_title() == f"Nothing is known of {NEEDS[name]}"
    unknown.loc[0, ["age", "sex", "localization"]] = 45., "male", "back"
    assert "Nothing" not in FIGURES[name](unknown).get_title()


def test_titles_follow_the_table(table):
    assert "59% of the images are nv" in u.plot_class_counts(table).get_title()
    melanoma = table[table.dx == "mel"]
    assert "100% of the images are mel" in u.plot_class_counts(melanoma).get_title()
    women = u.plot_counts(table.assign(sex="female"), "sex")
    assert women.get_title().startswith("female leads with 100%")


def test_the_figure_of_ages_follows_malignant_classes_where_they_are_known(table):
    title = u.plot_by_age_group(table).get_title()
    assert title.startswith("akiec, bcc and mel together: ")
    assert u.plot_by_age_group(as_melanoma(table)).get_title().startswith("mel: ")
    unknown = table.assign(dx=table.dx.map({"nv": "a", "mel": "b"}).fillna("c"))
    unknown = with_task(unknown, task_of_classes("abc"))
    assert u.plot_by_age_group(unknown).get_title().startswith("c: ")


def test_samples_depend_on_their_seed_only(table):
    first, again, other = (u.plot_samples(table, 2, seed).images[0].get_array()
                           for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


@each_view
def test_facts_of_any_task(table, images, masks, view):
    seen = view(table)
    facts = u.data_facts(seen)
    assert facts == json.loads(json.dumps(facts))
    for c in set(seen.dx):
        assert facts[f"images of {c}"] == (seen.dx == c).sum()
    frequent = seen.dx.mode()[0]
    assert f"AUC of {frequent} against the rest from the skin's mean colour" in pixel_facts(
        seen, images, masks)


# pixels

KNOWN_COLOURS = {  # sRGB -> CIELAB
    (255, 255, 255): (100, 0, 0), (0, 0, 0): (0, 0, 0), (255, 0, 0): (53.24, 80.09, 67.20),
    (128, 128, 128): (53.59, 0, 0), (255, 255, 0): (97.14, -21.55, 94.48)}


def test_lab_of_known_colours():
    lab = to_lab(np.array(list(KNOWN_COLOURS), np.uint8))
    assert np.abs(lab - np.array(list(KNOWN_COLOURS.values()))).max() < .02


def test_masks(table, images, masks):
    assert masks.shape == images.shape[:3]
    assert masks[:, 48, 48].mean() > .9
    assert masks[:, 0, 0].mean() < .1
    refused(lambda: read_masks(table.assign(image_id="ISIC_9"), 96), "no mask")


@each_view
def test_means_and_figures_of_any_task(table, images, masks, view):
    seen = view(table)
    means = mean_by_class(images, seen)
    for k, c in enumerate(seen.attrs["task"].classes):
        assert np.array_equal(means[k], images[seen.dx == c].mean(0))
    assert plot_mean_lesions(images, masks, seen).get_title()
    assert plot_lesion_area(masks, seen).get_title()
    assert len(plot_colours(mean_colours(images, masks), seen).axes) == 3


def test_a_class_without_pictures_has_no_mean(table, images, masks):
    some = (table.dx != "df").to_numpy()
    means = mean_by_class(images[some], table[some])
    empty = np.isnan(means).all((1, 2, 3))
    assert [c for c, e in zip(CLASSES, empty) if e] == ["df"]
    assert plot_mean_lesions(images[some], masks[some], table[some]).get_title()
    assert plot_lesion_area(masks[some], table[some]).get_title()


def test_colours_of_lesion_and_skin():
    images = np.full((1, 8, 8, 3), 200, np.uint8)
    masks = np.zeros((1, 8, 8), bool)
    images[0, 2:6, 2:6] = 150, 60, 50
    masks[0, 2:6, 2:6] = True
    images[0, 0, 0] = 0  # a dark corner is no skin
    got = mean_colours(images, masks, every=1).iloc[0]
    assert np.allclose(got[:3], to_lab(np.uint8([150, 60, 50])), atol=1e-3)
    assert np.allclose(got[3:], to_lab(np.uint8([200, 200, 200])), atol=1e-3)


def test_a_mask_of_the_whole_picture_leaves_no_skin(table, images, masks):
    masks = masks.copy()
    masks[:3] = True
    masks[3] = False
    colours = mean_colours(images, masks)
    assert colours.isna().any(axis=1).to_numpy().nonzero()[0].tolist() == [0, 1, 2, 3]
    assert colours.filter(like="skin")[:3].isna().all(None) and colours.lesion_L[:3].notna().all()
    assert colours.filter(like="lesion").iloc[3].isna().all() and colours.skin_L.notna()[3]
    assert background_auc(colours, table) == background_auc(colours[3:], table[3:])
    medians = plot_colours(colours, table, "skin").axes[0].lines[4::6]
    assert len(medians) == len(CLASSES)
    assert np.isfinite([line.get_ydata()[0] for line in medians]).all()


@pytest.fixture(scope="module")
def blank(table):
    "Colours of skin that say nothing."
    noise = np.random.default_rng(0).normal(60, 5, (len(table), 3))
    return pd.DataFrame(noise, columns=["skin_L", "skin_a", "skin_b"])


def test_background_auc_finds_what_is_planted(table, blank):
    assert .4 < background_auc(blank, table) < .6
    planted = blank.assign(skin_a=blank.skin_a + 20 * (table.dx == "nv"))
    assert background_auc(planted, table) > .95


def test_background_auc_of_any_class(table, blank):
    planted = blank.assign(skin_a=blank.skin_a + 20 * (table.dx == "mel"))
    found = background_auc(planted, table, positive="mel")
    assert found > .95
    assert background_auc(planted, as_melanoma(table), positive="mel") == found
    assert background_auc(blank, table) == background_auc(blank, table, positive="nv")


def double(im, gain=1.1, shift=(3, -4), quality=60):
    "The picture moved, brightened and saved again as a worse JPEG."
    brighter = np.clip(im * gain, 0, 255).astype("uint8")
    file = io.BytesIO()
    Image.fromarray(np.roll(brighter, shift, (0, 1))).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.fixture(scope="module")
def doubled(table, images):
    "The sample and ten of its pictures a second time, under other names."
    some = table.iloc[:200:20]
    extra = some.assign(image_id=some.image_id + "b", lesion_id=some.lesion_id + "b")
    doubles = [double(images[i]) for i in some.index]
    return (pd.concat([table, extra], ignore_index=True), np.concatenate([images, doubles]),
            extra)


@pytest.mark.parametrize("how", [dict(shift=(0, 0)), dict(shift=(0, 0), gain=.9, quality=30),
                                 dict(shift=(1, 0), gain=1)])
def test_hash_survives(images, how):
    a = perceptual_hashes(images[:30])
    b = perceptual_hashes([double(im, **how) for im in images[:30]])
    assert np.bitwise_count(a ^ b).mean() < 5
    assert np.bitwise_count(a ^ np.roll(b, 9)).mean() > 20


def test_hash_is_imagehashs(images):
    from imagehash import phash
    assert f"{perceptual_hashes(images[:1])[0]:016x}" == str(phash(Image.fromarray(images[0])))


def test_near_duplicates_counts_every_pair_across_lesions():
    t = pd.DataFrame(dict(image_id=list("abcd"), lesion_id=["1", "1", "2", "3"],
                          age=[np.nan, 5, np.nan, 5], sex=["male", "male", "male", None]))
    hashes = np.array([0, 1, 3, 255], np.uint64)
    pairs = near_duplicates(hashes, t, 2)
    assert list(pairs.columns) == PAIR_COLUMNS
    assert pairs.values.tolist() == [["b", "c", "1", "2", 1], ["a", "c", "1", "2", 2]]
    same_age = near_duplicates(hashes, t, 8, ("age",))
    assert same_age.values.tolist() == [["a", "c", "1", "2", 2], ["b", "d", "1", "3", 7]]
    same_both = near_duplicates(hashes, t, 8, ("age", "sex"))
    assert same_both.values.tolist() == [["a", "c", "1", "2", 2]]
    assert list(near_duplicates(hashes, t, 0).columns) == PAIR_COLUMNS


def test_twins_are_the_doubles_and_nothing_else(doubled):
    table, images, extra = doubled
    found = twins(table, images)
    assert set(found.image_b) == set(extra.image_id)
    assert (found.image_b == found.image_a + "b").all()
    assert found.likeness.is_monotonic_decreasing
    assert len(twins(table.head(420), images[:420])) == 0
    assert plot_pairs(found, table, images).get_title() == "10 pairs across lesion ids"
    assert plot_pairs(found.head(0), table, images).get_title() == "0 pairs across lesion ids"


def test_twins_need_the_tables_word(doubled):
    table, images, extra = doubled
    other = table.assign(age=table.age.where(table.index < 420, table.age + 5))
    assert len(twins(other, images)) == 0


def test_likeness_ignores_shift_and_light(images):
    n = np.arange(10)
    moved = [double(im, 1.2, (4, 4)) for im in images[:10]]
    both = np.concatenate([images[:10], moved])
    assert likeness(both, n, n + 10).min() > .8
    assert np.median(likeness(both, n, np.roll(n, 3) + 10)) < .5
    assert likeness(both, n[:0], n[:0]).size == 0


# the real data

@pytest.fixture(scope="module")
def real(real_data):
    return read_ham10000(real_data)


@pytest.fixture(scope="module")
def stored(root):
    return read_json(root / "results" / "ham10000" / "data" / "facts.json")["table"]


def test_real_facts_are_those_stored(real, stored):
    assert u.data_facts(real) == stored


def test_stored_facts_are_those_published(stored):
    assert (stored["images"], stored["lesions"]) == (10_015, 7_470)
    assert (stored["ages known"], stored["localization unknown"]) == (9_958, 234)
    images = [stored[f"images of {c}"] for c in CLASSES]
    assert images == [327, 514, 1099, 115, 1113, 6705, 142]
    lesions = [stored[f"lesions of {c}"] for c in CLASSES]
    assert lesions == [228, 327, 727, 73, 614, 5403, 98]
    confirmed = [stored[f"dx_type {k}"] for k in ("histo", "follow_up", "consensus", "confocal")]
    assert confirmed == [5340, 3704, 902, 69]
    ages = [stored[f"age, {k}"] for k in ("mean", "standard deviation", *u.AGE_QUANTILES)]
    assert ages == [51.863828, 16.968614, 0, 40, 50, 65, 85]
    assert round(stored["class told by dx_type"], 3) == .293


def test_real_quality(real):
    q = u.quality_checks(real)
    assert q[~q.met].standard.tolist() == ["consistency", "consistency", "balance", "balance"]


def test_real_shape(real):
    sizes = u.image_sizes(real.iloc[::50])
    assert set((sizes.height / sizes.width).round(3)) == {.75}


def test_real_twins(real, root):
    "The stored pairs are found again among their own pictures and two hundred others."
    stored = pd.read_csv(root / "results" / "ham10000" / "data" / "twins.csv")
    theirs = real[real.image_id.isin({*stored.image_a, *stored.image_b})]
    part = pd.concat([theirs, real.iloc[::50]]).drop_duplicates("image_id", ignore_index=True)
    found = twins(part, decode_images(part, 96))
    assert len(stored) == 15
    assert pairs_of(found) == pairs_of(stored)
    says = part.set_index("image_id")[list(AGREE)].fillna("")
    assert (says.loc[stored.image_a].values == says.loc[stored.image_b].values).all()


def pairs_of(table):
    return {frozenset(p) for p in table[["image_a", "image_b"]].values}


def test_real_validation_part(real_data):
    folder = real_data.parent / "isic2018_task3"
    if not folder.is_dir():
        pytest.skip("no ISIC 2018 beside HAM10000")
    table = alone(read_any, folder)
    assert len(table) == 193
    assert set(table.dx) == set(CLASSES)
