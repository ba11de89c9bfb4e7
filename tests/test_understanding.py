"Readers of other layouts, the quality standards, figures that say what they show, doubles among pictures; and the published figures of HAM10000."
import io, json, warnings
from pathlib import Path
import matplotlib; matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np, pandas as pd, pytest
from PIL import Image
from skin_nb import understanding as u
from skin_nb.core import DataError, read_json
from skin_nb.tasks import HAM10000, with_task
from skin_nb.pictures import decode_images
from skin_nb.pixels import (AGREE, PAIR_COLUMNS, background_auc, likeness, mean_by_class, mean_colours, near_duplicates, perceptual_hashes, plot_colours, plot_lesion_area,
                            plot_mean_lesions, plot_pairs, read_masks, to_lab, twins)
from skin_nb.readers import find_problems, read_any, read_folder, read_ham10000, read_isic2018, read_own_table
from skin_nb.sample import sample_folder

ORDER = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]

@pytest.fixture(scope="module")
def table(): return read_ham10000(sample_folder())

@pytest.fixture(scope="module")
def images(table): return np.asarray(decode_images(table, 96))

def refused(call, *said):
    with pytest.raises(DataError) as e: call()
    for text in said: assert str(text) in str(e.value)

# readers

def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(60, 220, (45, 60, 3), "uint8")).save(path)

def challenge(root, part, classes, columns=ORDER, first=1):
    "A part of the challenge; image i is called ISIC_000000i."
    ids = [f"ISIC_{first + i:07}" for i in range(len(classes))]
    name = f"ISIC2018_Task3_{part}"
    for i in ids: picture(root / f"{name}_Input" / f"{i}.jpg", int(i[-3:]))
    (root / f"{name}_GroundTruth").mkdir()
    hot = pd.DataFrame({c: [float(c.lower() == dx) for dx in classes] for c in columns}, index=pd.Index(ids, name="image"))
    hot.to_csv(root / f"{name}_GroundTruth" / f"{name}_GroundTruth.csv")
    return ids

@pytest.mark.parametrize("part", ["Training", "Validation", "Test"])
def test_parts_of_the_challenge(tmp_path, part):
    challenge(tmp_path, part, HAM10000.classes, columns=ORDER[::-1])
    with pytest.warns(UserWarning, match="lesion of its own"): table = read_isic2018(tmp_path)
    assert table.dx.tolist() == list(HAM10000.classes) and table.lesion_id.is_unique and table.age.isna().all() and set(table.sex) == {"unknown"}
    with pytest.warns(UserWarning): assert read_any(tmp_path).equals(table) and find_problems(tmp_path) == []

def test_parts_side_by_side(tmp_path):
    challenge(tmp_path, "Training", ["nv", "nv", "mel"])
    challenge(tmp_path, "Test", ["df"], first=50)
    refused(lambda: read_isic2018(tmp_path), "2 ground-truth files", "Name a part")
    refused(lambda: read_isic2018(tmp_path, "validation"), "'validation'")
    (tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text("image,lesion_id,diagnosis_confirm_type\nISIC_0000001,HAM_1,histopathology\n"
        "ISIC_0000002,HAM_1,serial imaging showing no change\nISIC_0000003,HAM_2,single image expert consensus\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # every lesion is known: nothing to warn of
        training = read_isic2018(tmp_path, "training")
    assert training.lesion_id.tolist() == ["HAM_1", "HAM_1", "HAM_2"] and training.dx_type.tolist() == ["histo", "follow_up", "consensus"]
    with pytest.warns(UserWarning): assert read_isic2018(tmp_path, "test").image_id.tolist() == ["ISIC_0000050"]

def own(root, rows, mapping, name="moles.csv"):
    "A clinic's folder: a table, columns.json, pictures named after the first column."
    for r in rows: picture(root / "photos" / f"{Path(str(r[0])).stem}.jpg")
    pd.DataFrame(rows, columns=["file", "label", "lesion", "years", "gender", "site"][:len(rows[0])]).to_csv(root / name, index=False)
    (root / "columns.json").write_text(json.dumps(mapping))

MAPPING = dict(image_id="file", dx="label", classes={"Melanoma": "mel", "naevus": "nv"}, sexes=dict(f="female", m="male"))

def test_own_table(tmp_path):
    own(tmp_path, [("p1.JPG", "melanoma", "L1", 51, "F", "left ear"), ("sub/p2.jpg", "Naevus", "L1", "", "m", ""), ("p3", "DF", "L2", 70, "", "back")],
        MAPPING | dict(lesion_id="lesion", age="years", sex="gender", localization="site"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read_own_table(tmp_path)
    assert table.image_id.tolist() == ["p1", "p2", "p3"] and table.dx.tolist() == ["mel", "nv", "df"] and table.lesion_id.tolist() == ["L1", "L1", "L2"]
    assert table.sex.tolist() == ["female", "male", "unknown"] and table.localization.tolist() == ["left ear", "unknown", "back"]
    assert table.age.tolist()[::2] == [51, 70] and np.isnan(table.age[1]) and set(table.dx_type) == {"unknown"}
    assert read_any(tmp_path).equals(table) and find_problems(tmp_path) == []

def test_own_table_without_lesions(tmp_path):
    own(tmp_path, [("p1.jpg", "melanoma"), ("p2.jpg", "naevus")], MAPPING)
    with pytest.warns(UserWarning, match="lesion of its own"): assert read_own_table(tmp_path).lesion_id.tolist() == ["p1", "p2"]

@pytest.mark.parametrize("mapping, said", [
    (MAPPING | dict(age="jahre"), "no column jahre"), (dict(image_id="file"), "image_id and dx"), (MAPPING | dict(colour="x"), "the keys"),
    ([1], "no object"), (dict(image_id="file", dx="label"), "class 'wart'"), (MAPPING | dict(table="other.csv"), "0 tables")])
def test_own_table_broken(tmp_path, mapping, said):
    own(tmp_path, [("p1.jpg", "wart")], mapping)
    with warnings.catch_warnings(record=True): refused(lambda: read_own_table(tmp_path), said)

def test_own_table_rows_and_files(tmp_path):
    own(tmp_path, [("p1.jpg", "nv"), ("p2.jpg", "nv")], MAPPING)
    (tmp_path / "photos" / "p2.jpg").rename(tmp_path / "photos" / "p9.jpg")
    with warnings.catch_warnings(record=True): refused(lambda: read_own_table(tmp_path), "p2, which has no file", "p9.jpg", "without a row")
    (tmp_path / "columns.json").write_text("{"); refused(lambda: read_own_table(tmp_path), "broken JSON")

def test_class_folders_say_that_lesions_are_unknown(tmp_path):
    picture(tmp_path / "nv" / "a.jpg")
    with pytest.warns(UserWarning, match="lesion of its own"): read_folder(tmp_path)

# the dictionary and the quality standards

def test_dictionary_covers_the_table(table):
    d = u.data_dictionary()
    assert list(d.index) == list(table.columns) and (d[["type", "allowed", "missing", "meaning", "source"]] != "").all(axis=None) and d.unit["age"] == "years"

@pytest.mark.parametrize("column, value", [("dx", "wart"), ("dx_type", "guess"), ("age", 130.), ("age", -1.), ("sex", "f"), ("localization", "left ear"), ("lesion_id", ""), ("path", None)])
def test_schema_finds_a_slip(table, column, value):
    bad = table.copy(); bad.loc[7, column] = value
    wrong = u.schema_failures(bad)
    assert len(wrong) == 1 and wrong.column.item() == column and wrong["index"].item() == 7
    assert not len(u.schema_failures(table))

def test_schema_wants_each_image_once(table): assert set(u.schema_failures(pd.concat([table, table.head(2)], ignore_index=True)).column) == {"image_id"}

def exif(table, tmp_path):
    tag = Image.Exif(); tag[0x13B] = "Dr. Huber"
    Image.open(table.path[0]).save(tmp_path / "signed.jpg", exif=tag)
    return table.assign(path=[str(tmp_path / "signed.jpg"), *table.path[1:]])

CHECKS = {  # the start of a check: how to break it
    "every cell obeys": lambda t, _: t.assign(age=t.age.where(t.index > 0, 130)),
    "90 % of the diagnoses": lambda t, _: t.assign(dx_type="consensus"),
    "no column lacks": lambda t, _: t.assign(sex=t.sex.where(t.index > 40, "unknown")),
    "every row has its picture": lambda t, tmp: t.assign(path=[str(tmp / "none.jpg"), *t.path[1:]]),
    "no picture twice": lambda t, _: t.assign(image_id=[t.image_id[1], *t.image_id[1:]]),
    "the pictures of a lesion agree on dx": lambda t, _: t.assign(lesion_id="HAM_1"),
    "the pictures of a lesion agree on sex": lambda t, _: t.assign(lesion_id="HAM_1"),
    "the pictures of a lesion agree on age": lambda t, _: t.assign(lesion_id="HAM_1"),
    "the pictures of a lesion agree on loc": lambda t, _: t.assign(lesion_id="HAM_1"),
    "no columns but": lambda t, _: t.assign(name="Maria Huber"),
    "ids are codes": lambda t, _: t.assign(image_id=["Huber, Maria", *t.image_id[1:]]),
    "ages in steps": lambda t, _: t.assign(age=t.age.where(t.index > 0, 93)),
    "no author": exif,
    "no class 10 times": lambda t, _: t,
    "50 lesions": lambda t, _: t,
    "neither sex": lambda t, _: t.assign(sex="male"),
    "no age group": lambda t, _: t}

@pytest.fixture(scope="module")
def good(table):
    "A table that meets every standard: 50 lesions of each class, two pictures of some, all ages."
    n, rng = 350, np.random.default_rng(0)
    lesions = pd.DataFrame(dict(lesion_id=[f"HAM_{i:07}" for i in range(n)], dx=np.resize(HAM10000.classes, n), dx_type="histo", age=[10. + 20 * (i // 7 % 5) - 5 * (i % 5 == 4) for i in range(n)],
                                sex=["male", "female"] * (n // 2), localization="back"))
    t = lesions.loc[lesions.index.repeat(1 + (rng.random(n) < .2))].reset_index(drop=True)
    t = t.assign(age=t.age.clip(upper=85), image_id=[f"ISIC_{i:07}" for i in range(len(t))], path=table.path[0])
    return with_task(t, HAM10000)

@pytest.mark.parametrize("check", CHECKS)
def test_quality_both_ways(table, good, check, tmp_path):
    "Each check is met by a good table and missed by one broken on purpose; the sample itself is too small for some of them."
    met = lambda t: u.quality_checks(t).set_index("check").met.pipe(lambda m: m[[c for c in m.index if c.startswith(check)]]).tolist()
    assert met(good) == [True] and met(CHECKS[check](table, tmp_path)) == [False]

def test_every_check_is_tested(good):
    q = u.quality_checks(good)
    assert sorted(q.check) == sorted(c for c in q.check for k in CHECKS if c.startswith(k)) and set(q.standard) == set(u.STANDARDS)
    assert u.format_quality(q).endswith(f"{len(q)} of {len(q)} quality checks met")

def test_quality_of_a_table_that_knows_nothing(tmp_path):
    challenge(tmp_path, "Test", ["nv", "mel"])
    with pytest.warns(UserWarning): q = u.quality_checks(read_any(tmp_path)).set_index("check").met
    assert not q["no column lacks more than 5 %"] and not q["neither sex under 40 %"] and q["every row has its picture"]

# numbers and figures

def test_age_groups():
    ages = pd.Series([0, 20, 21, 40, 41, 60, 61, 80, 81, 100, np.nan])
    assert u.age_group(ages).tolist()[:10] == [g for g in u.AGE_GROUPS for _ in range(2)] and pd.isna(u.age_group(ages).iloc[10])

def test_shared_information_is_sklearns():
    from sklearn.metrics import mutual_info_score
    rng = np.random.default_rng(0)
    a, b = pd.Series(rng.integers(0, 4, 500)), pd.Series(rng.integers(0, 3, 500)); b[a == 0] = 0
    assert u.shared_information(a, b) == pytest.approx(mutual_info_score(a, b) / mutual_info_score(b, b))

FIGURES = [u.plot_class_counts, u.plot_ages, lambda t: u.plot_counts(t, "sex"), lambda t: u.plot_counts(t, "localization"), u.plot_by_sex, u.plot_by_age_group, u.plot_age_box, u.plot_sites,
           lambda t: u.plot_sites(t, shares=True), lambda t: u.plot_samples(t, 2), u.plot_aspect_ratios, u.plot_information]

@pytest.mark.parametrize("plot", FIGURES)
def test_figures_name_their_axes(table, plot):
    ax = plot(table)
    assert ax.get_title() and ax.get_xlabel() and ax.get_ylabel() or plot is u.plot_information
    plt.close("all")

def test_titles_follow_the_table(table):
    assert "59% of the images are nv" in u.plot_class_counts(table).get_title()
    melanoma = table[table.dx == "mel"]
    assert "100% of the images are mel" in u.plot_class_counts(melanoma).get_title()
    assert u.plot_counts(table.assign(sex="female"), "sex").get_title().startswith("female leads with 100%")
    plt.close("all")

def test_gallery_depends_on_its_seed_only(table):
    sheet = lambda seed: u.plot_samples(table, 2, seed).images[0].get_array()
    assert (sheet(3) == sheet(3)).all() and (sheet(3) != sheet(4)).any()
    plt.close("all")

# pixels

def test_lab_of_known_colours():
    known = {(255, 255, 255): (100, 0, 0), (0, 0, 0): (0, 0, 0), (255, 0, 0): (53.24, 80.09, 67.20), (128, 128, 128): (53.59, 0, 0), (255, 255, 0): (97.14, -21.55, 94.48)}
    assert np.abs(to_lab(np.array(list(known), np.uint8)) - np.array(list(known.values()))).max() < .02

def test_means_and_masks(table, images):
    masks = read_masks(table, 96)
    assert masks.shape == images.shape[:3] and masks[:, 48, 48].mean() > .9 > .1 > masks[:, 0, 0].mean()
    assert np.allclose(mean_by_class(images, table)[5], images[table.dx == "nv"].mean(0))
    for figure in plot_mean_lesions(images, masks, table), plot_lesion_area(masks, table), plot_colours(mean_colours(images, masks), table): assert figure
    refused(lambda: read_masks(table.assign(image_id="ISIC_9"), 96), "no mask")
    plt.close("all")

def test_colours_of_lesion_and_skin():
    images, masks = np.full((1, 8, 8, 3), 200, np.uint8), np.zeros((1, 8, 8), bool)
    images[0, 2:6, 2:6], masks[0, 2:6, 2:6] = (150, 60, 50), True
    images[0, 0, 0] = 0  # a dark corner is no skin
    got = mean_colours(images, masks, every=1).iloc[0]
    assert np.allclose(got[:3], to_lab(np.uint8([150, 60, 50])), atol=1e-3) and np.allclose(got[3:], to_lab(np.uint8([200, 200, 200])), atol=1e-3)

def test_background_auc_finds_what_is_planted(table):
    rng = np.random.default_rng(0)
    blank = pd.DataFrame(rng.normal(60, 5, (len(table), 3)), columns=["skin_L", "skin_a", "skin_b"])
    assert .4 < background_auc(blank, table) < .6
    assert background_auc(blank.assign(skin_a=blank.skin_a + 20 * (table.dx == "nv")), table) > .95

def double(im, gain=1.1, shift=(3, -4), quality=60):
    Image.fromarray(np.roll(np.clip(im * gain, 0, 255).astype("uint8"), shift, (0, 1))).save(file := io.BytesIO(), "JPEG", quality=quality)
    return np.asarray(Image.open(file))

@pytest.fixture(scope="module")
def doubled(table, images):
    "The sample and ten of its pictures a second time, under other names."
    some = table.iloc[:200:20]
    extra = some.assign(image_id=some.image_id + "b", lesion_id=some.lesion_id + "b")
    return pd.concat([table, extra], ignore_index=True), np.concatenate([images, [double(images[i]) for i in some.index]]), extra

@pytest.mark.parametrize("how", [dict(shift=(0, 0)), dict(shift=(0, 0), gain=.9, quality=30), dict(shift=(1, 0), gain=1)])
def test_hash_survives(images, how):
    a, b = perceptual_hashes(images[:30]), perceptual_hashes([double(im, **how) for im in images[:30]])
    assert np.bitwise_count(a ^ b).mean() < 5 < 20 < np.bitwise_count(a ^ np.roll(b, 9)).mean()

def test_hash_is_imagehashs(images):
    from imagehash import phash
    assert f"{perceptual_hashes(images[:1])[0]:016x}" == str(phash(Image.fromarray(images[0])))

def test_near_duplicates_counts_every_pair_across_lesions():
    t = pd.DataFrame(dict(image_id=list("abcd"), lesion_id=["1", "1", "2", "3"], age=[np.nan, 5, np.nan, 5]))
    hashes = np.array([0, 1, 3, 255], np.uint64)
    pairs = near_duplicates(hashes, t, 2)
    assert list(pairs.columns) == PAIR_COLUMNS and pairs.values.tolist() == [["b", "c", "1", "2", 1], ["a", "c", "1", "2", 2]]
    assert near_duplicates(hashes, t, 8, ("age",)).values.tolist() == [["a", "c", "1", "2", 2], ["b", "d", "1", "3", 7]]
    assert list(near_duplicates(hashes, t, 0).columns) == PAIR_COLUMNS

def test_twins_are_the_doubles_and_nothing_else(doubled):
    table, images, extra = doubled
    found = twins(table, images)
    assert set(found.image_b) == set(extra.image_id) and (found.image_b == found.image_a + "b").all() and found.likeness.is_monotonic_decreasing
    assert len(twins(table.head(420), images[:420])) == 0
    assert plot_pairs(found, table, images).get_title() == "10 pairs across lesion ids" and plot_pairs(found.head(0), table, images)
    plt.close("all")

def test_twins_need_the_tables_word(doubled):
    table, images, extra = doubled
    other = table.assign(age=table.age.where(table.index < 420, table.age + 5))
    assert len(twins(other, images)) == 0

def test_likeness_ignores_shift_and_light(images):
    n = np.arange(10)
    both = np.concatenate([images[:10], [double(im, 1.2, (4, 4)) for im in images[:10]]])
    same, other = likeness(both, n, n + 10), likeness(both, n, np.roll(n, 3) + 10)
    assert same.min() > .8 and np.median(other) < .5 and likeness(both, n[:0], n[:0]).size == 0

# the real data

@pytest.fixture(scope="module")
def real(real_data): return read_ham10000(real_data)

def test_real_facts_are_those_stored(real, root):
    stored = read_json(root / "results" / "ham10000" / "data" / "facts.json")["table"]
    assert u.data_facts(real) == stored
    assert (stored["images"], stored["lesions"], stored["ages known"], stored["localization unknown"]) == (10_015, 7_470, 9_958, 234)
    assert [stored[f"images of {c}"] for c in HAM10000.classes] == [327, 514, 1099, 115, 1113, 6705, 142]
    assert [stored[f"lesions of {c}"] for c in HAM10000.classes] == [228, 327, 727, 73, 614, 5403, 98]
    assert [stored[f"dx_type {k}"] for k in ("histo", "follow_up", "consensus", "confocal")] == [5340, 3704, 902, 69]
    assert [stored[f"age, {k}"] for k in ("mean", "standard deviation", "least", "lower quartile", "median", "upper quartile", "most")] == [51.863828, 16.968614, 0, 40, 50, 65, 85]
    assert round(stored["class told by dx_type"], 3) == .293

def test_real_quality(real):
    q = u.quality_checks(real)
    assert q[~q.met].standard.tolist() == ["consistency", "balance", "balance"]

def test_real_shape(real):
    sizes = u.image_sizes(real.iloc[::50])
    assert set((sizes.height / sizes.width).round(3)) == {.75}

def test_real_twins(real, root):
    "The stored pairs are found again among their own pictures and two hundred others."
    stored = pd.read_csv(root / "results" / "ham10000" / "data" / "twins.csv")
    part = pd.concat([real[real.image_id.isin({*stored.image_a, *stored.image_b})], real.iloc[::50]]).drop_duplicates("image_id").reset_index(drop=True)
    found = twins(part, decode_images(part, 96))
    pairs = lambda t: {frozenset(p) for p in t[["image_a", "image_b"]].values}
    assert pairs(found) == pairs(stored) and len(stored) == 15
    assert (part.set_index("image_id").loc[stored.image_a, list(AGREE)].fillna("").values == part.set_index("image_id").loc[stored.image_b, list(AGREE)].fillna("").values).all()

def test_real_validation_part(real_data):
    folder = real_data.parent / "isic2018_task3"
    if not folder.is_dir(): pytest.skip("no ISIC 2018 beside HAM10000")
    with pytest.warns(UserWarning, match="lesion of its own"): table = read_any(folder)
    assert len(table) == 193 and set(table.dx) == set(HAM10000.classes)
