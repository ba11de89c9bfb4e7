"SIIM-ISIC: patients stay together, missing pictures are counted, TFRecords come back as they went."
import os
import warnings
from pathlib import Path
import pandas as pd
import pytest
from bad_siim import pair, rows, set_cell, siim
from skin_nb.core import DataError
from skin_nb.experiment import load_melanoma
from skin_nb.preparation import FOLDS, PARTS, deal_folds, fold_report, split_by_lesion
from skin_nb.readers import describe_reading, passed_over, read_any, survey
from skin_nb.sample import atypical_patients, siim_sample_folder
from skin_nb.siim import (
    missing_pictures,
    read_duplicates,
    read_siim_isic,
    read_siim_rows,
    read_tfrecords,
    write_tfrecords,
)


def quietly(read, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(*arguments)


@pytest.fixture(scope="module")
def sample():
    return read_siim_isic(siim_sample_folder())


@pytest.fixture(scope="module")
def published():
    "The challenge's folder beside HAM10000."
    folder = Path(os.environ.get("SKIN_NB_DATA", "")).parent / "siim_isic"
    if not os.environ.get("SKIN_NB_DATA") or not folder.is_dir():
        pytest.skip("no folder siim_isic beside the one that SKIN_NB_DATA names")
    return folder


def assert_no_patient_crosses(table):
    tested = pd.Series(0, table.index)
    for fold in range(FOLDS):
        parts = split_by_lesion(table, fold)
        assert parts.groupby("patient_id").split.nunique().max() == 1
        assert set(parts.split) == set(PARTS) and set(parts.dx[parts.split == "valid"]) == {
            "mel",
            "other",
        }
        tested += parts.split == "test"
    assert (tested == 1).all()


def test_no_patient_of_the_sample_crosses(sample):
    assert_no_patient_crosses(sample)


def test_no_patient_of_the_published_table_crosses(published):
    table = quietly(read_siim_rows, published)
    assert (
        len(table) == 33126
        and (table.dx == "mel").sum() == 584
        and table.patient_id.nunique() == 2056
    )
    assert_no_patient_crosses(table)
    held = fold_report(table, deal_folds(table))
    assert held.mel.max() - held.mel.min() <= 1 and held.patients.max() - held.patients.min() <= 2
    assert (table.groupby("lesion_id").patient_id.nunique() == 1).all()


def test_published_duplicates_agree(published):
    pairs = read_duplicates(published)
    assert len(pairs) == 425 and pairs.same_patient.all() and pairs.same_target.all()


def test_atypical_patients_have_no_melanoma_and_carriers_have_other_moles(sample):
    atypical = set(atypical_patients())
    carriers = set(sample.patient_id[sample.dx == "mel"])
    assert len(carriers) >= 25 and len(atypical) >= 10 and not carriers & atypical
    assert ((sample.dx == "other").groupby(sample.patient_id).sum() >= 2).all()


def test_missing_pictures_are_named_everywhere(tmp_path):
    siim(tmp_path, pictures=7)
    with pytest.warns(
        UserWarning, match="pictures not there: 5, 1 of them melanomas, such as ISIC_007"
    ):
        table = read_any(tmp_path)
    assert len(table) == 7 and missing_pictures(table).names == tuple(
        f"ISIC_{i:03}" for i in range(7, 12)
    )
    assert missing_pictures(table.copy()) == missing_pictures(table)
    assert passed_over(table) == [str(missing_pictures(table))]
    readable, problems = quietly(survey, tmp_path)
    assert problems == [] and len(readable) == 7


def test_pictures_of_the_test_part_are_passed_over(tmp_path):
    siim(tmp_path, more=["ISIC_100.jpg"])
    (tmp_path / "test.csv").write_text("image_name,patient_id\nISIC_100,IP_9\n")
    table = read_any(tmp_path)
    assert len(table) == 12 and passed_over(table) == [
        "passed over: pictures of other parts: 1, such as images/ISIC_100"
    ]


def test_names_of_files_and_lesions_of_the_later_table(tmp_path):
    siim(
        tmp_path,
        lambda t: t.assign(
            image_name=t.image_name + ".dcm", lesion_id=[f"IL_{i // 2}" for i in range(12)]
        ),
        pairs=pair("ISIC_000", "ISIC_008"),
    )
    table = read_any(tmp_path)
    lesion = table.set_index("image_id").lesion_id
    assert lesion.nunique() == 5 and lesion["ISIC_000"] == lesion["ISIC_009"] == "IL_0"


def test_a_pair_of_two_patients_makes_them_one(tmp_path):
    siim(tmp_path, pairs=pair("ISIC_001", "ISIC_011"))
    with pytest.warns(UserWarning, match="1 pairs of duplicates belong to two patients"):
        table = read_any(tmp_path)
    owner = table.set_index("image_id").patient_id
    assert owner.nunique() == 3 and owner["ISIC_000"] == owner["ISIC_009"] == "IP_0000000"


def test_three_columns_are_enough(tmp_path):
    siim(tmp_path, lambda t: t[["target", "patient_id", "image_name"]])
    (tmp_path / "notes_on_duplicates.txt").write_text("none found")
    table = read_any(tmp_path)
    assert len(table) == 12 and set(table.sex) == {"unknown"} and (table.dx == "mel").sum() == 3


def test_gaps_are_gaps(tmp_path):
    siim(tmp_path, lambda t: t.assign(sex="", age_approx="NA", anatom_site_general_challenge=""))
    table = read_any(tmp_path)
    assert table.age.isna().all() and set(table.sex) == set(table.localization) == {"unknown"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKIN_NB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_records_come_back_and_are_unpacked_once(tmp_path, cache, capsys):
    (tmp_path / "set").mkdir()
    siim(tmp_path / "set", set_cell(2, "age_approx", ""), pairs=pair("ISIC_001", "ISIC_002"))
    table = read_siim_isic(tmp_path / "set")
    files = write_tfrecords(table, tmp_path / "records", 32, deal_numbers(table))
    assert [f.name for f in files] == ["train00-6.tfrec", "train01-6.tfrec"]
    (tmp_path / "records" / "test00-1.tfrec").write_bytes(b"never opened")
    back = read_any(tmp_path / "records")
    assert f"once into {cache}" in capsys.readouterr().err
    order = dict(by="image_id", ignore_index=True)
    pd.testing.assert_frame_equal(back.drop(columns="path").sort_values(**order),
                                  table.drop(columns="path").sort_values(**order))
    assert describe_reading(back).startswith("layout tfrecords")
    assert passed_over(back) == ["passed over: files of the test part: 1, such as test00-1.tfrec"]
    again = read_any(tmp_path / "records")
    assert list(again.path) == list(back.path) and capsys.readouterr().err == ""


def deal_numbers(table):
    "Patients in turn, by the last digit of their names."
    return table.patient_id.str[-1].astype(int).to_numpy() % 2


def test_records_without_an_answer_are_left_out(tmp_path, cache):
    import tensorflow as tf
    from bad_siim import good_records, number, rewritten
    files = good_records(tmp_path)
    rewritten(number("target", -1), every=False)(files)
    with pytest.warns(UserWarning, match="records left out, without an answer: 1"):
        table = read_tfrecords(tmp_path / "records")
    assert len(table) == 11 and passed_over(table) == [
        "left out: rows of class -1 (no answer), with their pictures: 1"
    ]
    assert tf.io.decode_jpeg(Path(table.path[0]).read_bytes()).shape == (32, 32, 3)


def in_words(feature):
    "A record as other writers have it: texts for words and patients, a gap in an age."
    feature["patient_id"].bytes_list.value[:] = (
        b"IP_%07d" % feature["patient_id"].int64_list.value[0],
    )
    feature["sex"].bytes_list.value[:] = [b"male"]
    feature["anatom_site_general_challenge"].bytes_list.value[:] = [b"torso"]
    feature["age_approx"].float_list.value[:] = [float("nan")]


def test_records_of_other_writers(tmp_path, cache):
    from bad_siim import good_records, rewritten
    files = good_records(tmp_path)
    for k, file in enumerate(files):
        rewritten(in_words)(files[k:])
        name = f"siim.tfrecord-{k:05}-of-00003" if k else "siim-00000-of-00003.tfrecord"
        file.rename(file.with_name(name))
    table, same = read_any(tmp_path / "records"), read_any(tmp_path / "set")
    columns = ["image_id", "patient_id", "sex", "localization", "dx"]
    assert table.age.isna().all() and len(table) == 12
    found, wanted = [t[columns].sort_values("image_id", ignore_index=True) for t in (table, same)]
    assert found.equals(wanted)


def test_a_melanoma_by_any_name_is_one(tmp_path):
    words = {"melanoma": "Melanoma in situ", "unknown": "nevus"}
    siim(tmp_path, lambda t: t.assign(diagnosis=t.diagnosis.replace(words)))
    assert (read_any(tmp_path).dx == "mel").sum() == 3


def test_a_table_beside_records_is_no_second_layout(tmp_path, cache):
    from bad_siim import good_records
    good_records(tmp_path)
    rows().to_csv(tmp_path / "records" / "train.csv", index=False)
    assert len(read_any(tmp_path / "records")) == 12
    with pytest.raises(DataError, match="marks of 2 layouts: siim_isic, tfrecords"):
        read_any(tmp_path)  # a set of pictures and one of records, one level below


def test_kaggles_own_folder_is_read_as_pictures(tmp_path, cache):
    from bad_siim import good_records, save
    good_records(tmp_path)
    siim(tmp_path)
    (tmp_path / "train").mkdir()
    for k in range(12):
        save(tmp_path / "512x512-test" / f"ISIC_9{k:02}.jpg")
        (tmp_path / "train" / f"ISIC_{k:03}.dcm").write_bytes(b"dicom")
    (tmp_path / "set" / "train.csv").unlink()
    for path in (tmp_path / "set" / "images").iterdir():
        path.unlink()
    table = read_any(tmp_path)
    assert len(table) == 12 and describe_reading(table) == "layout siim_isic, table train.csv"
    told = " ".join(passed_over(table))
    assert (
        "parts: 12, such as 512x512-test/" in told
        and "DICOM files, beside those that are read: 12" in told
    )
    assert "TFRecords, beside the pictures that they hold: 3" in told
    assert len(read_any(tmp_path, "tfrecords")) == 12


def test_rows_that_no_record_holds_are_counted(tmp_path, cache):
    from bad_siim import good_records
    for path in good_records(tmp_path)[1:]:
        path.unlink()
    rows().to_csv(tmp_path / "records" / "train.csv", index=False)
    with pytest.warns(UserWarning, match="pictures not there: "):
        table = read_any(tmp_path / "records")
    missing = missing_pictures(table)
    assert len(missing.names) + len(table) == 12 and not set(missing.names) & set(table.image_id)
    assert missing.melanomas + (table.dx == "mel").sum() == 3


def test_a_tidied_cache_is_filled_again(tmp_path, cache):
    from bad_siim import good_records
    good_records(tmp_path)
    table = read_any(tmp_path / "records")
    Path(table.path[0]).unlink()
    again = read_any(tmp_path / "records")
    assert len(again) == 12 and Path(again.path[0]).is_file()


def test_melanomas_of_four_patients_or_none_make_no_folds(tmp_path):
    siim(tmp_path)
    with pytest.raises(DataError, match="3 patients of class mel"):
        deal_folds(load_melanoma(tmp_path))
    for k in (0, 4, 8):
        (tmp_path / "images" / f"ISIC_{k:03}.jpg").unlink()
    with pytest.raises(DataError, match="0 melanomas among 9 pictures"):
        quietly(load_melanoma, tmp_path)


def test_a_replaced_file_of_the_same_size_is_read_anew(tmp_path, cache):
    from bad_siim import good_records
    file = good_records(tmp_path)[0]
    read_any(tmp_path / "records")
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    with pytest.raises(DataError, match="torn"):
        read_any(tmp_path / "records")
