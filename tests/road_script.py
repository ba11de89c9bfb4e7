"""Walks the whole road once, from a folder to the leaderboard, for one task.

Run as a program by the tests, so that it can choose its back end. Kinds of task: the seven
diagnoses, melanoma against the rest (with one sigmoid unit), and a folder with three class names
that nobody has heard of.
"""
import shutil
import sys
from pathlib import Path

import matplotlib

from skin_nb.certainty import conformal_sets, scale_predictions
from skin_nb.evaluate_command import evaluate_command
from skin_nb.evaluation import class_report, evaluate, split_arrays
from skin_nb.experiment import cam_gallery, load_data, run_trial, save_metrics, trial_table
from skin_nb.predictions import read_predictions
from skin_nb.readers import read_any
from skin_nb.recipe import Head, Recipe, Stage
from skin_nb.rows import collect_results, leaderboard
from skin_nb.sample import sample_folder
from skin_nb.tasks import task_from_dict, task_of
from skin_nb.model_files import read_model_info

INVENTED = {"nv": "crater", "mel": "island", "bkl": "delta"}


def invented_folder(path):
    "A folder a class, named by nobody's convention, from pictures of the sample."
    table = read_any(sample_folder())
    for row in table[table.dx.isin(INVENTED)].groupby("dx").head(30).itertuples():
        target = path / INVENTED[row.dx] / Path(row.path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(row.path, target)
    return path


def walk(kind, out):
    "From data to leaderboard; every station uses what the last one left."
    data = invented_folder(out / "data") if kind == "invented" else "sample"
    table = load_data(data, "melanoma" if kind == "melanoma" else "own")
    output = "sigmoid" if kind == "melanoma" else "softmax"
    head = Head(pool="flatten", dropout=.2, output=output)
    recipe = Recipe(
        "road", "CustomCNN", 32, (Stage(2, 1e-3, unfreeze="all"),), head=head, scratch=True
    )
    notebook = out / "run" / "99_road"
    trial = run_trial(recipe, "lesion", table, notebook)
    save_metrics([trial], notebook)
    task = task_of(table)

    predictions = read_predictions(trial.folder / "predictions.csv", task)
    assert evaluate(predictions)["balanced_accuracy"] == trial.metrics["balanced_accuracy"]
    assert list(class_report(predictions).index[:-2]) == list(task.classes)
    assert len(trial_table([trial])) == 2

    scaled, _ = scale_predictions(predictions)
    assert task_of(scaled) == task and evaluate(scaled)["accuracy"] == trial.metrics["accuracy"]
    y, p, _ = split_arrays(scaled, "valid")
    assert conformal_sets(y, p, split_arrays(scaled)[1]).shape[1] == len(task.classes)
    cam_gallery(trial)

    board = leaderboard(collect_results(out / "run"))
    assert list(board.task) == [task.name] and list(board.recipe) == ["road"]
    model = trial.folder / "model.keras"
    assert task_from_dict(read_model_info(model)["task"]) == task
    assert (
        evaluate_command(["--model", str(model), "--data", str(data), "--out", str(out / "scores")])
        == 0
    )
    scores = read_predictions(out / "scores" / "predictions.csv", task)
    assert task_of(scores) == task and len(scores) == len(table)
    print("walked", task.name, ", ".join(task.classes))


if __name__ == "__main__":
    matplotlib.use("agg")
    walk(sys.argv[1], Path(sys.argv[2]))
