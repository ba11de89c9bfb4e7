"Somebody else's predictions: what is read, what is refused, which mistakes are seen, and the page."
import json
import os
import re
import numpy as np
import pandas as pd
import pytest
from html_reader import Reader
from skin_nb.audit import audit_command, audit_page, audit_predictions
from skin_nb.core import DataError
from skin_nb.foreign import PictureNames, judge_foreign, read_foreign, read_ids
from skin_nb.predictions import invent_predictions
from skin_nb.signs import (
    BALANCED,
    BY_IMAGE,
    HONEST_INVENTIONS,
    REPEATED,
    answer_signs,
    plant_mistakes,
    signs_found,
)
from skin_nb.preparation import lesion_clusters
from skin_nb.tasks import HAM10000, MELANOMA, task_in_group, with_task

ISIC = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
P = HAM10000.p_columns


@pytest.fixture(scope="module")
def truth():
    "Predictions of an honest model that doesn't exist."
    return invent_predictions(lesions=500, seed=4)


@pytest.fixture(scope="module")
def labels(truth):
    "The labels alone, with something known of the patients."
    table = truth[["image_id", "lesion_id", "dx"]].copy()
    table["sex"] = np.where(np.arange(len(table)) % 2, "female", "male")
    table["age"] = 40. + np.arange(len(table)) % 5 * 10
    return with_task(table, HAM10000)


@pytest.fixture
def read(tmp_path, labels):
    "What is read of a table that was written as CSV."
    def of(table, scale=None, labels=labels, **how):
        table.to_csv(tmp_path / "a.csv", **{"index": False, **how})
        return read_foreign(tmp_path / "a.csv", labels, scale)
    return of


def challenge(truth):
    "The form of ISIC 2018 task 3."
    columns = {f"p_{c.lower()}": c for c in ISIC}
    table = truth[["image_id", *columns]].rename(columns={"image_id": "image", **columns})
    return table


def long_form(truth):
    return challenge(truth).melt("image", var_name="class", value_name="probability")


def paths(truth):
    return challenge(truth).assign(image="some/where/" + truth.image_id + ".JPG")


def per_cent(truth):
    return challenge(truth).set_index("image").mul(100).round(3).reset_index()


def synonyms(truth):
    names = dict(NV="Nevus", MEL="prob_melanoma", AKIEC="actinic keratoses", BCC="bcc_pred",
                 VASC="Pyogenic granulomas and hemorrhage")
    return challenge(truth).rename(columns=names)


def indexed(truth):
    return truth[P].set_index(truth.image_id.rename(None)).reset_index(names="")


def counted(truth):
    return challenge(truth).reset_index(names="Unnamed: 0")


def around(pattern):
    "Columns called after a class with something around it."
    def form(truth):
        return challenge(truth).rename(columns={c: pattern.format(c.lower()) for c in ISIC})
    form.__name__ = pattern
    return form


def long_with_more(truth):
    "The long form with a rank, a number of the class, and the truth."
    table = long_form(truth).merge(truth[["image_id", "dx"]].set_axis(["image", "label"], axis=1))
    rank = table.groupby("image").probability.rank(ascending=False).astype(int)
    return table.assign(rank=rank, class_id=table["class"].map(ISIC.index))


@pytest.mark.parametrize(
    "form",
    [
        challenge,
        long_form,
        paths,
        per_cent,
        synonyms,
        indexed,
        counted,
        long_with_more,
        *map(
            around,
            ["y_pred_{}", "softmax_{}", "{}_proba", "{} (%)", "pred_prob_{}", "3_{}", "p-{}"],
        ),
        lambda t: t,
    ],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("sep, decimal", [(",", "."), (";", ",")])
def test_forms_say_the_same(form, sep, decimal, truth, labels, read):
    foreign = read(form(truth), sep=sep, decimal=decimal)
    predictions, coverage = judge_foreign(foreign, labels)
    found = predictions.set_index("image_id").loc[truth.image_id, P].to_numpy()
    assert np.abs(found - truth[P].to_numpy()).max() < 1e-4
    assert foreign.has_probabilities and coverage.judged == len(truth)


def test_answers_without_probabilities(truth, labels, read):
    best = np.array(ISIC)[challenge(truth)[ISIC].to_numpy().argmax(1)]
    hard = pd.DataFrame((best[:, None] == np.array(ISIC)).astype(int), columns=ISIC)
    hard.insert(0, "image", truth.image_id)
    named = truth[["image_id"]].assign(predicted=best, confidence=.9)
    tables = [judge_foreign(read(t), labels)[0] for t in (hard, named)]
    assert tables[0][P].equals(tables[1][P])
    foreign = read(named)
    assert not foreign.has_probabilities
    audit = audit_predictions(foreign, labels, n_boot=20)
    assert not audit.scores.score.str.contains("auc|brier|ece|_at_").any()
    assert "reliab" not in audit_page(audit).lower() and audit.points.empty


def test_one_column_is_melanoma_against_the_rest(truth, labels, read):
    table = pd.DataFrame(dict(image_name=truth.image_id, target=truth.p_mel))
    foreign = read(table)
    predictions, _ = judge_foreign(foreign, labels)
    assert set(predictions.dx) == {"other", "mel"}
    assert np.allclose(predictions.p_mel, truth.p_mel)
    assert any("target is read as" in note for note in foreign.notes)


def test_many_classes_for_a_question_of_two(truth, labels, read):
    from skin_nb.tasks import as_melanoma
    foreign = read(challenge(truth), labels=as_melanoma(labels))
    assert np.allclose(foreign.answers.p_mel, truth.p_mel)


def test_a_class_that_the_data_lack(truth, labels, read):
    table = challenge(truth)
    table[ISIC] *= .9
    foreign = read(table.assign(SCC=.1))
    assert np.allclose(foreign.answers[P], truth[P]) and "no scc" in " ".join(foreign.notes)


@pytest.mark.parametrize(
    "answer, told",
    [
        ("pred", "target"),
        ("oof_pred", "target"),
        ("y_prob", "y_true"),
        ("mel_prob", "target"),
        ("pred", "mel"),
    ],
)
def test_the_truth_beside_one_column_is_no_answer(answer, told, truth, labels, read):
    from skin_nb.tasks import as_melanoma
    is_mel = (truth.dx == "mel").astype(int)
    table = truth[["image_id"]].assign(**{told: is_mel, answer: truth.p_mel})
    for known in (labels, as_melanoma(labels)) if told != "y_true" else (as_melanoma(labels),):
        assert np.allclose(read(table, labels=known).answers.p_mel, truth.p_mel)
    hard = read(table.assign(**{answer: 0}), labels=as_melanoma(labels))
    assert told == "y_true" or hard.answers.p_mel.eq(0).all()
    with pytest.raises(DataError, match="answers in the columns"):
        read(table.assign(score=truth.p_mel, prob=truth.p_mel).drop(columns=answer),
             labels=as_melanoma(labels))


def test_pictures_that_could_not_be_read_are_counted(truth, labels, read):
    "Answers of this project's own command have such rows, with the reason under problem."
    table = challenge(truth).assign(problem="")
    table.loc[3, [*ISIC, "problem"]] = [np.nan] * 7 + ["a damaged picture"]
    foreign = read(table)
    assert len(foreign.answers) == len(truth) - 1
    assert f"Rows without any number, such as {truth.image_id[3]}: 1, not judged." in foreign.notes
    with pytest.raises(DataError, match="expected a number"):
        read(table.assign(MEL=.1))


def test_words_of_yes_and_no(truth, labels, read):
    from skin_nb.tasks import as_melanoma
    is_mel = truth.p_mel > .5
    tables = [dict(target=is_mel), dict(predicted=np.where(is_mel, "malignant", "benign")),
              dict(predicted=np.where(is_mel, "melanoma", "non-melanoma")),
              dict(benign=~is_mel, malignant=is_mel)]
    for columns in tables:
        foreign = read(truth[["image_id"]].assign(**columns), labels=as_melanoma(labels))
        assert foreign.answers.p_mel.eq(is_mel).all() and not foreign.has_probabilities


def test_labels_of_the_table_are_compared_in_the_words_of_the_question(truth, labels, read):
    from skin_nb.tasks import as_melanoma
    melanoma = as_melanoma(labels)
    told = read(truth[["image_id", "dx"]].assign(pred=truth.p_mel), labels=melanoma).answers.claimed
    assert told.tolist() == melanoma.dx.tolist()
    unsure = challenge(truth).assign(diagnosis="unknown")
    assert read(unsure).answers.claimed.eq("").all()


def test_own_classes_may_begin_like_a_column(truth, labels, read):
    from skin_nb.tasks import task_of_classes
    names = dict(zip(HAM10000.classes, ("class 1", "class 2", *"abcde")))
    own = with_task(labels.assign(dx=labels.dx.map(names)), task_of_classes(names.values()))
    table = truth[["image_id", *P]].set_axis(["image", *names.values()], axis=1)
    assert np.allclose(read(table, labels=own).answers["p_class 1"], truth.p_akiec)


@pytest.mark.parametrize(
    "column, train, test",
    [
        ("Set", "Train", "Test"),
        ("subset", "training", "testing"),
        ("is_train", True, False),
        ("phase", "train", "val"),
    ],
)
def test_parts_by_other_names(column, train, test, truth, labels, read, tmp_path):
    first = np.arange(len(truth)) < 300
    table = challenge(truth).assign(**{column: np.where(first, train, test)})
    foreign = read(table)
    assert foreign.answers.image_id.tolist() == truth.image_id[300:].tolist()
    assert any(f"{len(truth) - 300} are judged" in note for note in foreign.notes)
    assert read_ids(tmp_path / "a.csv", labels.image_id) == (set(truth.image_id[:300]), 0)


def logits(truth):
    return challenge(truth).set_index("image").map(np.log).reset_index()


REFUSED = {
    "--scale logits": logits,
    "--scale independent": lambda t: challenge(t).assign(NV=.9),
    "by position": lambda t: challenge(t).set_axis(["image", *map(str, range(7))], axis=1),
    "no column for df": lambda t: challenge(t).drop(columns="DF"),
    "numbers under Dermatofibrom": lambda t: challenge(t).rename(columns={"DF": "Dermatofibrom"}),
    "name several classes": lambda t: long_form(t).drop(columns="probability"),
    "numbers in the columns a, b": lambda t: (
        long_form(t).assign(a=1, b=2).drop(columns="probability")
    ),
    "both about mel": lambda t: challenge(t).assign(melanoma=.5),
    "NV = x": lambda t: challenge(t).astype({"NV": str}).assign(NV="x"),
    "NV = nan": lambda t: challenge(t).assign(NV="nan"),
    "none of them a picture": lambda t: challenge(t).assign(image="x"),
    "Call it predicted": lambda t: t[["image_id"]].assign(one=t.dx, two=t.dx),
    "a column a class": lambda t: t[["image_id", "dx"]],  # the truth is no answer
    "a second time": lambda t: pd.concat([long_form(t), long_form(t).head(2)]),
    "row of zeros": lambda t: challenge(t).set_index("image").mul(0).reset_index(),
}


@pytest.mark.parametrize("said", REFUSED)
def test_refused(said, truth, read):
    scale = "independent" if "zeros" in said else None
    with pytest.raises(DataError, match=re.escape(said)):
        read(REFUSED[said](truth), scale)


def test_scales_are_stated_truly(truth, read):
    assert np.allclose(read(logits(truth), "logits").answers[P], truth[P])
    for scale in ("logits", "percent"):
        with pytest.raises(DataError, match="which are probabilities"):
            read(challenge(truth), scale)


def test_repeated_and_unknown_pictures_are_counted(truth, labels, read):
    table = challenge(truth)
    table = pd.concat([table.head(300), table.head(20), table.head(1).assign(image="new")])
    foreign = read(table)
    predictions, coverage = judge_foreign(foreign, labels)
    assert (coverage.judged, coverage.repeated, coverage.unlabelled) == (300, 20, ("new",))
    assert coverage.unanswered == len(labels) - 300
    audit = audit_predictions(foreign, labels, n_boot=20)
    assert REPEATED in audit.found


def test_a_seed_is_that_of_all_resamples(truth, labels, read):
    foreign = read(challenge(truth))
    first, second = [audit_predictions(foreign, labels, n_boot=20, seed=seed) for seed in (0, 1)]
    for name in ("groups", "points"):
        lower = [c for c in getattr(first, name) if c.endswith("_lo")]
        assert not getattr(first, name)[lower].equals(getattr(second, name)[lower])


def test_training_lists(tmp_path, labels):
    ids = labels.image_id[:5]
    (tmp_path / "a.txt").write_text("\n".join(ids) + "\nelse\n")
    labels.assign(split=np.where(labels.image_id.isin(ids), "train", "test")).to_csv(
        tmp_path / "b.csv")
    (tmp_path / "c").mkdir()
    from PIL import Image
    for i in ids:
        Image.new("RGB", (8, 8)).save(tmp_path / "c" / f"{i}.png")
    found = [read_ids(tmp_path / name, labels.image_id) for name in ("a.txt", "b.csv", "c")]
    assert found == [(set(ids), 1), (set(ids), 0), (set(ids), 0)]
    for file in (tmp_path / "c").iterdir():
        file.rename(file.with_suffix(".dcm"))  # a name is enough
    assert read_ids(tmp_path / "c", labels.image_id) == (set(ids), 0)


LISTS = {
    "two a line": lambda ids: "\n".join(",".join(ids[k : k + 2]) for k in range(0, len(ids), 2)),
    "as NumPy prints": lambda ids: (
        "[" + "\n ".join(f"'{a}' '{b}'" for a, b in zip(ids[::2], ids[1::2])) + "]"
    ),
    "a class behind each": lambda ids: "\n".join(f"train/mel/{i}.jpg,4" for i in ids),
    "a number behind each": lambda ids: "\n".join(f"{i}.jpg 4" for i in ids),
    "a series": lambda ids: pd.Series(ids).to_csv(),
    "columns": lambda ids: "test,train\ntest_00100," + "\n,".join(ids),
    "keys": lambda ids: json.dumps(dict(test=["test_00100"], train=ids), indent=1),
    "records": lambda ids: json.dumps(
        [dict(image="test_00100", split="test", dx="nv")]
        + [dict(image=i, split="train", dx="mel") for i in ids]
    ),
    "values": lambda ids: json.dumps(dict(test_00100="test") | dict.fromkeys(ids, "train")),
    "bytes": lambda ids: "\n".join(map(str, map(str.encode, ids))),
}


@pytest.mark.parametrize("form", LISTS)
def test_training_lists_that_name_more_than_pictures(form, tmp_path, labels):
    ids = list(labels.image_id[:6])
    (tmp_path / "a.txt").write_text(LISTS[form](ids))
    assert read_ids(tmp_path / "a.txt", labels.image_id) == (set(ids), 0)


@pytest.mark.parametrize("between", [", ", " ", ";\n", '"\n"', '",\n  "', "_downsampled.jpg\n"])
def test_training_lists_in_many_hands(tmp_path, labels, between):
    ids = labels.image_id[:5]
    (tmp_path / "a.txt").write_text(f'["{between.join(ids)}"]')
    assert read_ids(tmp_path / "a.txt", labels.image_id) == (set(ids), 0)


def test_a_folder_that_nobody_may_enter_hides_training_pictures(tmp_path, labels, monkeypatch):
    (tmp_path / "locked").mkdir()
    scandir = os.scandir
    def guarded(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)
    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(DataError, match="locked: found permission denied"):
        read_ids(tmp_path, labels.image_id)


def test_an_id_wins_over_a_name_without_folders():
    names = PictureNames(["a/x", "x", "y_downsampled", "y", "z_downsampled", "w"])
    found = [
        names.find(c) for c in ("x.heic", "b/a/x", "Y", "y_downsampled.jpg", "z", "w_downsampled")
    ]
    assert found == ["x", "a/x", "y", "y_downsampled", "z_downsampled", "w"]


@pytest.mark.parametrize("row", [[0] * 7, [-.1, 1.1, *[0] * 5], [.5] * 7])
def test_a_single_wrong_row_is_named(truth, read, row):
    table = challenge(truth)
    table.loc[3, ISIC] = row
    with pytest.raises(DataError, match="row 5: found numbers from .* that sum to"):
        read(table)


@pytest.mark.parametrize("name", [n for n in HONEST_INVENTIONS if n != "large"])
def test_honest_models_get_no_sign(name):
    table = invent_predictions(**HONEST_INVENTIONS[name], seed=11)
    assert signs_found(answer_signs(table)) == []


def test_honest_melanoma_models_get_no_sign():
    shares = dict(other=.98, mel=.02)
    table = invent_predictions(3000, task=MELANOMA, shares=shares, seed=2)
    assert signs_found(answer_signs(table)) == []


def test_planted_mistakes_are_found(truth):
    for mistake, table in plant_mistakes(truth, seed=1).items():
        assert mistake in signs_found(answer_signs(table)), mistake


def test_ids_in_the_order_of_folders(truth):
    "Answers class by class under ids by name: the order is named."
    order = np.lexsort([truth.image_id, truth.dx])
    columns = dict(zip(P, truth[P].to_numpy()[order].T))
    by_name = truth.sort_values("image_id").reset_index(drop=True).assign(**columns)
    found = {s.mistake: s for s in answer_signs(by_name)}
    assert any("folders, one a class" in s.evidence for s in found.values())


def test_lesions_on_both_sides(truth, labels, read):
    several = truth.lesion_id.duplicated(keep=False)
    first = ~truth.lesion_id.duplicated()
    tested = truth[several & first | (~several & (truth.index % 2 == 0))]
    foreign = read(challenge(tested))
    trained = set(truth.image_id) - set(tested.image_id)
    audit = audit_predictions(foreign, labels, (trained, 0), hashes=False, n_boot=50)
    mistake = "one lesion on both sides of the split"
    sign = next(s for s in audit.signs if s.mistake == mistake)
    assert sign.strength == "shown" and "lesion seen in training minus" in sign.evidence
    clean = audit_predictions(foreign, labels, (set(), 0), hashes=False, n_boot=20)
    assert clean.found == []


def test_what_the_tested_rows_tell(truth, labels, read):
    by_image = truth.sample(frac=.3, random_state=0)
    even = truth.groupby("dx").head(4)
    assert BY_IMAGE in audit_predictions(read(challenge(by_image)), labels, n_boot=20).found
    assert BALANCED in audit_predictions(read(challenge(even)), labels, n_boot=20).found
    wrong = truth.assign(dx=np.roll(truth.dx, 1))
    assert any("labels that differ" in m for m in
               audit_predictions(read(wrong), labels, n_boot=20).found)


def test_page_stands_alone_and_escapes(truth, labels, read):
    "Names from outside are text; nothing is fetched; figures have words."
    hostile = labels.assign(sex="<img src=x onerror=alert(1)>", lesion_id=labels.lesion_id + "<b>")
    hostile.loc[::2, "sex"] = "female"
    table = pd.concat([challenge(truth).tail(300), challenge(truth).head(1).assign(
        image="<script>alert(1)</script>")])
    foreign = read(table, labels=hostile)
    page = audit_page(audit_predictions(foreign, hostile, n_boot=20), "<script>x</script> & co")
    reader = Reader(page)
    assert reader.open == [] and "script" not in reader.tags and "b" not in reader.tags
    assert all(w.startswith(("data:image/", "#")) for w in reader.wants)
    assert len(reader.alts) >= 5 and all(reader.alts)
    assert not re.search(r"https?://|url\(|@import", page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "nan" not in page.lower().split()


@pytest.fixture
def house(tmp_path):
    "A folder with the sample's labels, and answers for its pictures."
    from skin_nb.readers import read_any
    from skin_nb.sample import sample_folder
    table = read_any(sample_folder())
    rng = np.random.default_rng(0)
    y = HAM10000.codes(table.dx)
    scores = np.exp(3 * np.eye(7)[y] + rng.normal(size=(len(y), 7)))
    p = pd.DataFrame(scores / scores.sum(1, keepdims=True), columns=HAM10000.classes)
    p.insert(0, "image_id", table.image_id)
    p.to_csv(tmp_path / "answers.csv", index=False)
    return tmp_path, table


def test_command(house, capsys):
    "0 without a sign, 1 with one, 2 where nothing can be judged; nothing is overwritten."
    folder, table = house
    asked = ["--predictions", str(folder / "answers.csv"), "--data", "sample", "--quick"]
    assert audit_command(asked) == 0
    assert audit_command(asked) == 0
    said = capsys.readouterr().out
    assert "suggest none" in said and "constant answer" in said
    assert said.startswith("layout ham10000, table HAM10000_metadata.csv, part training")
    assert {p.name for p in folder.iterdir() if p.is_dir()} == {"answers_audit", "answers_audit_2"}
    record = json.loads((folder / "answers_audit/audit.json").read_text())
    assert record["found"] == [] and record["coverage"]["judged"] == len(table)
    (folder / "ids.txt").write_text("\n".join(table.image_id[:30]))
    out = ["--train", str(folder / "ids.txt"), "--out", str(folder / "new")]
    assert audit_command([*asked, *out]) == 1
    assert "30 test pictures are training pictures" in " ".join(capsys.readouterr().out.split())
    before = (folder / "new/audit.html").read_bytes()
    assert audit_command([*asked, *out]) == 2
    assert "where something is already" in capsys.readouterr().err
    assert (folder / "new/audit.html").read_bytes() == before


@pytest.mark.parametrize(
    "change, said",
    [
        (["--predictions", "/nowhere.csv"], "nowhere.csv"),
        (["--data", "/nowhere"], "nowhere"),
        (["--train", "/nowhere"], "nowhere"),
        (["--out", ""], "--out"),
        (["--scale", "logits"], "logits"),
    ],
)
def test_bad_arguments(change, said, house, capsys):
    folder, _ = house
    asked = ["--predictions", str(folder / "answers.csv"), "--data", "sample", "--quick"]
    assert audit_command([*asked, *change]) == 2
    assert said in capsys.readouterr().err


def test_near_duplicates_are_seen(house, tmp_path, capsys):
    "The same picture under another name and lesion, one side each."
    from skin_nb.audit import pairs_across
    folder, table = house
    twin = table.iloc[[0]].assign(image_id="twin", lesion_id="other")
    both = with_task(pd.concat([table.iloc[:40], twin], ignore_index=True), HAM10000)
    pairs = pairs_across(both, [table.image_id[0]], ["twin"])
    assert pairs[["image_a", "image_b"]].iloc[0].tolist() == [table.image_id[0], "twin"]
    people = both.assign(patient_id=[f"P{i}" for i in range(len(both))])
    people = with_task(people, task_in_group(HAM10000, "patient_id"))
    pairs = pairs_across(people, [table.image_id[0]], ["twin"])
    assert pairs[["lesion_a", "lesion_b"]].iloc[0].tolist() == [table.lesion_id[0], "other"]
    patients = pd.Series(lesion_clusters(people, pairs), people.image_id)
    assert patients[table.image_id[0]] == patients["twin"] == "P0"
