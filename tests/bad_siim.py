"Bad tables, duplicates and TFRecords of SIIM-ISIC."
import os
from functools import partial
import pandas as pd
from corpus import Bad
from PIL import Image
from skin_nb.readers import read_any
from skin_nb.siim import read_siim_isic, read_tfrecords, write_tfrecords


def save(path, colour=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 24), (colour, 90, 80)).save(path)


def rows(n=12):
    "Pictures of patients with three each, every fourth a melanoma."
    mel = [i % 4 == 0 for i in range(n)]
    return pd.DataFrame(
        dict(
            image_name=[f"ISIC_{i:03}" for i in range(n)],
            patient_id=[f"IP_{i // 3:07}" for i in range(n)],
            sex="male",
            age_approx="50.0",
            anatom_site_general_challenge="torso",
            diagnosis=["melanoma" if m else "unknown" for m in mel],
            benign_malignant=["malignant" if m else "benign" for m in mel],
            target=[str(int(m)) for m in mel],
        )
    )


def siim(folder, change=None, pictures=12, pairs=None, more=(), dicom=0):
    "A small SIIM-ISIC, its table changed as asked; a function that reads it."
    table = rows()
    if change:
        table = change(table)
    table.to_csv(folder / "train.csv", index=False)
    for i in range(pictures):
        save(folder / "images" / f"ISIC_{i:03}.jpg", 20 * i)
    for name in more:
        save(folder / "images" / name)
    for i in range(dicom):  # files that are named like DICOM's
        (folder / f"ISIC_{i:03}.dcm").write_bytes(b"dicom")
    if pairs is not None:
        pairs.to_csv(folder / "ISIC_2020_Training_Duplicates.csv", index=False)
    return partial(read_any, folder)


def set_cell(row, column, value):
    def change(table):
        table.loc[row, column] = value
        return table
    return change


def case(name, change, *says, **how):
    return Bad(f"bad_siim_{name}", partial(siim, change=change, **how), says)


def pair(a, b, columns=("image_name_1", "image_name_2")):
    return pd.DataFrame([(a, b)], columns=columns)


def no_picture_fits(table):
    return table.assign(image_name="x" + table.image_name)


# TFRecords

def good_records(folder):
    "TFRecords of a small set, in three files."
    (folder / "set").mkdir()
    siim(folder / "set")
    return write_tfrecords(read_siim_isic(folder / "set"), folder / "records", 32, 3)


def records(folder, damage):
    "TFRecords that were damaged; a function that reads them into a cache of their own."
    damage(good_records(folder))

    def read():
        before = os.environ.get("SKIN_NB_CACHE")
        os.environ["SKIN_NB_CACHE"] = str(folder.parent / f"{folder.name}_cache")
        try:
            return read_tfrecords(folder / "records")
        finally:
            os.environ.pop("SKIN_NB_CACHE")
            if before:
                os.environ["SKIN_NB_CACHE"] = before
    return read


def record_case(name, damage, *says):
    return Bad(f"bad_tfrecords_{name}", partial(records, damage=damage), says)


def rewritten(change, every=True):
    "The first file written anew, each record (or the first) with other features."
    def damage(files):
        import tensorflow as tf
        path = str(files[0])
        examples = [tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(path)]
        for example in examples if every else examples[:1]:
            change(example.features.feature)
        with tf.io.TFRecordWriter(path) as writer:
            for example in examples:
                writer.write(example.SerializeToString())
    return damage


def number(name, value):
    def change(feature):
        feature[name].int64_list.value[:] = [value]
    return change


def measure(name, value):
    def change(feature):
        feature[name].float_list.value[:] = [value]
    return change


def text(name, value):
    def change(feature):
        feature[name].bytes_list.value[:] = [value]
    return change


def drop(name):
    def change(feature):
        del feature[name]
    return change


def as_text(feature):
    feature["target"].bytes_list.value[:] = [b"1"]


def cut(files):
    os.truncate(files[0], files[0].stat().st_size - 10)


def flip(files):
    raw = bytearray(files[0].read_bytes())
    raw[len(raw) // 2] ^= 1
    files[0].write_bytes(raw)


def other_bytes(files):
    files[0].write_bytes(b"not a record" * 20)


def empty(files):
    files[0].write_bytes(b"")


def foreign_records(files):
    import tensorflow as tf
    with tf.io.TFRecordWriter(str(files[0])) as writer:
        writer.write(b"\xff\xff\xff")


def miscounted(files):
    files[0].rename(files[0].with_name("train00-99.tfrec"))


def copied(files):
    files[0].with_name(files[0].name.replace("train00", "train07")).write_bytes(
        files[0].read_bytes()
    )


def every_target(value):
    def damage(files):
        for k in range(len(files)):
            rewritten(number("target", value))(files[k:])
    return damage


def other_table(files):
    "The table of the set beside its records, with one answer changed."
    folder = files[0].parent
    table = pd.read_csv(folder.parent / "set" / "train.csv")
    table.loc[0, "target"] = 1 - table.target[0]
    table.to_csv(folder / "train.csv", index=False)


def unpackable(folder):
    "A table that can't be packed: a site that records have no number for."
    siim(folder, lambda t: t.assign(anatom_site_general_challenge="back"))
    return partial(write_tfrecords, read_siim_isic(folder), folder / "out", 32, 2)


def occupied(folder):
    siim(folder)
    return partial(write_tfrecords, read_siim_isic(folder), folder, 32, 2)


SIIM = [
    case("target", set_cell(1, "target", "2"), "train.csv, row 3", "target '2'", "0 or 1"),
    case("no_target", set_cell(1, "target", ""), "row 3", "target ''"),
    case("target_says_malignant", set_cell(1, "target", "1"), "row 3", "target 1 and 'benign'"),
    case(
        "target_denies_malignant",
        set_cell(0, "target", "0"),
        "row 2",
        "target 0 and 'malignant'",
        "target 0 and diagnosis 'melanoma'",
    ),
    case("melanoma_called_nevus", set_cell(0, "diagnosis", "nevus"), "row 2", "diagnosis 'nevus'"),
    case("two_sexes", set_cell(1, "sex", "female"), "row 3", "IP_0000000", "one sex a patient"),
    case("age_jumps", set_cell(1, "age_approx", "85"), "row 3", "30 years"),
    case("age", set_cell(1, "age_approx", "-5"), "row 3", "0 to 120"),
    case("sex", set_cell(1, "sex", "x"), "row 3", "male, female"),
    case("no_patient", set_cell(1, "patient_id", ""), "row 3", "no patient_id"),
    case("patient_of_nobody", set_cell(1, "patient_id", "-1"), "row 3", "no patient_id"),
    case(
        "patient_in_small_letters",
        set_cell(1, "patient_id", "ip_0000000"),
        "train.csv, row",
        "one spelling",
    ),
    case("only_dicom", None, "format that isn't read (.dcm)", pictures=0, dicom=6),
    case(
        "test_part_alone",
        lambda t: t.drop(columns=["target", "diagnosis", "benign_malignant"]),
        "no column target",
        "test part",
    ),
    case("image_twice", set_cell(1, "image_name", "ISIC_000"), "row 3", "a second time"),
    case("formula", set_cell(1, "image_name", "=1+1"), "row 3", "spreadsheet"),
    case("no_pictures", None, "no picture", pictures=0),
    case("a_handful", None, "pictures for 3 of 12 rows", "5 rows at least", pictures=3),
    case("other_names", no_picture_fits, "pictures for 0 of 12 rows", "named like image_name"),
    case("picture_without_row", lambda t: t.iloc[:11], "ISIC_011.jpg", "a row for it"),
    case(
        "pair_of_two_answers",
        None,
        "Duplicates.csv, row 2",
        "one answer",
        pairs=pair("ISIC_000", "ISIC_001"),
    ),
    case("pairs_of_nobody", None, "Duplicates.csv", "no pair of pictures", pairs=pair("a", "b")),
    case(
        "pairs_without_columns",
        None,
        "Duplicates.csv, row 1",
        "image_name_1",
        pairs=pair("a", "b", ("x", "y")),
    ),
    record_case("torn", cut, "train00-6.tfrec", "torn"),
    record_case("flipped_bit", flip, "train00-6.tfrec", "torn"),
    record_case("other_bytes", other_bytes, "train00-", "no TFRecords"),
    record_case("empty", empty, "found 0 records"),
    record_case("no_example", foreign_records, "row 1", "no tf.train.Example"),
    record_case("miscounted", miscounted, "train00-99.tfrec", "as its name says"),
    record_case("copied", copied, "train07", "a second time"),
    record_case("no_target", rewritten(drop("target")), "no feature target", "test part"),
    record_case("no_image", rewritten(drop("image"), False), "row 1", "no feature image"),
    record_case("no_jpeg", rewritten(text("image", b"GIF89a"), False), "row 1", "no JPEG or PNG"),
    record_case("path_in_name", rewritten(text("image_name", b"../../x"), False), "'../../x'"),
    record_case("text_for_number", rewritten(as_text, False), "row 1", "target"),
    record_case(
        "endless_number",
        rewritten(measure("age_approx", float("inf")), False),
        "row 1",
        "age_approx inf",
    ),
    record_case("code_of_sex", rewritten(number("sex", 7), False), "sex 7", "0 male, 1 female"),
    record_case(
        "code_of_site", rewritten(number("anatom_site_general_challenge", 6), False), "0 head/neck"
    ),
    record_case("age", rewritten(number("age_approx", 500), False), "500"),
    record_case("contradiction", rewritten(number("diagnosis", 2)), "records", "melanoma"),
    record_case("test_part", every_target(-1), "without an answer"),
    record_case("another_answer", other_table, "train.csv, row 2", "in its record"),
    Bad("bad_tfrecords_word_without_code", unpackable, ("'back'", "head/neck")),
    Bad("bad_tfrecords_into_a_full_folder", occupied, ("isn't empty",)),
]
