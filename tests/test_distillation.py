"A student and its teacher: what counts, what is matched, and what must not leak."
from dataclasses import replace
import numpy as np
import pandas as pd
import pytest
from skin_nb.balancing import STRATEGIES, Strategy
from skin_nb.core import DataError
from skin_nb.distillation import (
    ask_teacher, best_student, fit_students, joint_speed, judge_students, lesion_pieces,
    paired_table, soft_targets, teacher_members)
from skin_nb.ensemble_study import draw_bag
from skin_nb.ensembles import headline
from skin_nb.evaluation import split_arrays
from skin_nb.heads import SoftTargets, fit_split
from skin_nb.predictions import predictions_table
from skin_nb.tasks import HAM10000, MELANOMA, task_of, with_task

ADJUSTED = STRATEGIES["logit adjustment"]


def invented_lesions(task, lesions=180, seed=0):
    "A table whose lesions have one or two pictures, with age, sex and site."
    rng = np.random.default_rng(seed)
    lesion = np.repeat(np.arange(lesions), rng.integers(1, 3, lesions))
    dx = np.array(task.classes)[lesion % len(task.classes)]
    table = pd.DataFrame({"image_id": [f"i{k}" for k in range(len(lesion))],
                          task.group: [f"l{k}" for k in lesion], "dx": dx,
                          "age": rng.integers(20, 80, len(lesion)), "sex": "female",
                          "localization": "back"})
    return with_task(table, task)


@pytest.fixture(scope="module", params=[HAM10000, MELANOMA], ids=["seven", "two"])
def part(request):
    table = invented_lesions(request.param)
    lesion = pd.factorize(table[request.param.group])[0]
    split = np.select([lesion % 5 == 0, lesion % 5 == 1], ["test", "valid"], "train")
    return with_task(table.assign(split=split, fold=0), request.param)


def seen_features(part, noise, seed=0, width=8):
    "Features that show the class through noise."
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(len(task_of(part).classes), width))
    y = task_of(part).codes(part.dx)
    return (centres[y] + noise * rng.normal(size=(len(part), width))).astype("float32")


@pytest.fixture(scope="module")
def members(part):
    return teacher_members(dict(first=seen_features(part, 2.), second=seen_features(part, .8, 1)))


@pytest.fixture(scope="module")
def answers(part, members):
    return ask_teacher(part, members, pieces=3)


def probabilities(table):
    return table[task_of(table).p_columns].to_numpy()


def own_student(part, teacher, share, temperature=1., strategy=ADJUSTED, **options):
    soft = soft_targets(part, teacher, share, temperature)
    return fit_split(part, seen_features(part, 2.), strategy, soft=soft, **options)


def certain(part):
    "A teacher that says what the labels say."
    labels = np.eye(len(task_of(part).classes))[task_of(part).codes(part.dx)]
    return predictions_table(part, labels)


@pytest.mark.parametrize("temperature", [1., 3.])
def test_a_teacher_without_a_share_changes_nothing(part, answers, temperature):
    plain = fit_split(part, seen_features(part, 2.), ADJUSTED)
    assert own_student(part, answers["out-of-fold"], 0., temperature).equals(plain)


@pytest.mark.parametrize("share", [.5, 1.])
def test_a_teacher_that_says_the_labels_changes_nothing(part, share):
    "Where the labels' loss is plain cross-entropy."
    plain = fit_split(part, seen_features(part, 2.), Strategy())
    same = own_student(part, certain(part), share, strategy=Strategy())
    assert same.attrs["l2"] == plain.attrs["l2"]
    assert np.abs(probabilities(same) - probabilities(plain)).max() < 1e-2


@pytest.mark.parametrize("temperature", [1., 4.])
def test_a_student_with_its_teachers_eyes_says_what_the_teacher_says(part, temperature):
    "On pictures that neither has seen: a linear head can be copied whole."
    x = seen_features(part, 2.)
    teacher = ask_teacher(part, dict(one=(x, False)), pieces=2)["in-fold"]
    student = own_student(part, teacher, 1., temperature, penalties=(1e-6,))
    theirs = teacher[teacher.split != "train"].set_index("image_id").loc[student.image_id]
    apart = probabilities(student) - theirs[task_of(part).p_columns].to_numpy()
    assert np.abs(apart).max() < .02


def test_what_the_teacher_says_of_the_test_part_is_not_heard(part, answers):
    teacher = answers["in-fold"]
    heard = own_student(part, teacher, .5, 2.)
    test = (teacher.split == "test").to_numpy()
    assert test.any()
    p = probabilities(teacher).copy()
    p[test] = np.random.default_rng(3).dirichlet(np.ones(p.shape[1]), test.sum())
    columns = dict(zip(task_of(teacher).p_columns, p.T))
    assert own_student(part, teacher.assign(**columns), .5, 2.).equals(heard)


def test_labels_of_the_test_part_decide_nothing(part, members, answers):
    "Neither the teacher's answers nor the student that is chosen."
    test = (part.split == "test").to_numpy()
    dx = part.dx.where(~test, np.random.default_rng(1).permutation(part.dx.to_numpy()))
    poisoned = with_task(part.assign(dx=dx), task_of(part))
    again = ask_teacher(poisoned, members, pieces=3)
    for kind, table in answers.items():
        assert np.array_equal(probabilities(again[kind]), probabilities(table))
    x = seen_features(part, 2.)
    few = dict(shares=(.5, 1.), temperatures=(2.,))
    before = best_student(fit_students(part, x, answers["out-of-fold"], **few))
    after = best_student(fit_students(poisoned, x, again["out-of-fold"], **few))
    assert before.attrs["share"] == after.attrs["share"]
    assert np.array_equal(probabilities(before), probabilities(after))


@pytest.mark.parametrize("change, words", [
    (lambda t: t.iloc[1:], "rows in table 2"),
    (lambda t: t.assign(image_id=t.image_id + "x"), "of the first not among them"),
    (lambda t: t.assign(fold=3), "of the first not among them"),
    (lambda t: t.assign(split="valid"), "rows in table 2"),
    (lambda t: t.assign(dx=t.dx.iloc[::-1].to_numpy()), "other classes in table 2")])
def test_answers_about_other_pictures_are_refused(part, answers, change, words):
    with pytest.raises(DataError, match=words):
        soft_targets(part, change(answers["out-of-fold"]), .5)


def test_answers_are_matched_by_name(part, answers):
    teacher = answers["out-of-fold"]
    shuffled = with_task(teacher.sample(frac=1, random_state=0), task_of(part))
    assert np.array_equal(soft_targets(part, teacher, .5).p, soft_targets(part, shuffled, .5).p)


@pytest.mark.parametrize("temperature", [.5, 1., 4.])
def test_soft_targets_are_probabilities(part, answers, temperature):
    p = soft_targets(part, answers["in-fold"], 1., temperature).p
    assert p.shape == ((part.split == "train").sum(), len(task_of(part).classes))
    assert (p >= 0).all() and np.abs(p.sum(1) - 1).max() < 1e-6


@pytest.mark.parametrize("change, words", [
    (dict(share=-.1), "share -0.1"), (dict(share=1.1), "share 1.1"),
    (dict(temperature=0.), "temperature 0"), (dict(temperature=np.inf), "temperature inf"),
    (dict(p=np.array([[.5, .6]])), "add up to 1"), (dict(p=np.array([[1.5, -.5]])), "add up to 1"),
    (dict(p=np.array([[np.nan, 1.]])), "add up to 1")])
def test_impossible_targets_are_refused(change, words):
    with pytest.raises(DataError, match=words):
        replace(SoftTargets(np.array([[.2, .8]]), .5), **change)


def test_a_sampler_with_rows_of_its_own_is_refused(part, answers):
    with pytest.raises(DataError, match="rows of its own"):
        own_student(part, answers["out-of-fold"], .5, sampler=draw_bag)


def test_answers_out_of_fold_come_from_others(part, members):
    "A label that is wrong in one piece doesn't reach the answers about that piece."
    pieces = lesion_pieces(part, 3)
    asked = np.concatenate([ask for _, ask in pieces])
    assert sorted(asked) == list(np.flatnonzero(part.split == "train"))
    group = part[task_of(part).group].to_numpy()
    for fit, ask in pieces:
        assert not set(group[fit]) & set(group[ask])


def test_in_fold_answers_are_surer_than_right(part, answers):
    y, p, _ = split_arrays(answers["in-fold"], "train")
    y_out, p_out, _ = split_arrays(answers["out-of-fold"], "train")
    assert headline(y, p, task_of(part)) > headline(y_out, p_out, task_of(part))


def test_the_best_student_is_the_best_on_the_validation_part(part, answers):
    students = fit_students(part, seen_features(part, 2.), answers["in-fold"], (.5, 1.), (1., 4.))
    judged = judge_students(students)
    best = best_student(students)
    y, p, _ = split_arrays(best, "valid")
    assert len(judged) == len(students) and headline(y, p, task_of(part)) == judged.score.max()
    assert (best.attrs["share"], best.attrs["temperature"]) in students


def test_a_difference_to_oneself_is_nothing(answers):
    teacher = answers["in-fold"]
    row = paired_table(dict(a=teacher, b=teacher), "a", "brier", n_boot=20).loc["b"]
    assert row.difference == row.lo == row.hi == 0


def test_two_networks_take_the_time_of_both():
    assert joint_speed([100, 50]) == pytest.approx(100 / 3)
