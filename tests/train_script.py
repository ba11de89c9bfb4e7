"""Trains a small two-stage recipe on synthetic pictures.

Run as a program by the tests, so that it can be killed and can choose its back end.
"""
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from skin_nb.balancing import Loss, Strategy
from skin_nb.batches import Views
from skin_nb.checkpoints import Checkpoint
from skin_nb.recipe import Cache, Head, Optimizer, Recipe, Rows, Stage
from skin_nb.tasks import HAM10000, with_task
from skin_nb.training import fit_recipe

SCRATCH = Recipe("scratch", "CustomCNN", 32,
                 (Stage(4, 1e-3, unfreeze="all", patience=3), Stage(2, 1e-4, unfreeze="conv_1")),
                 head=Head(pool="flatten", dense=(16,), dropout=.3), rows=Rows(batch=16),
                 augment=(("flip", "horizontal"),), scratch=True)
OPTIONS = replace(
    SCRATCH,
    stages=(replace(SCRATCH.stages[0], plateau=1), replace(SCRATCH.stages[1], cosine=True)),
    strategy=Strategy("repeat", Loss(label_smoothing=.1)),
    optimizer=Optimizer(ema=.9),
)
FROZEN = Recipe(
    "frozen",
    "MobileNetV2",
    32,
    (Stage(2, 1e-3), Stage(2, 1e-4, unfreeze="block_14_add")),
    head=Head(dropout=.3, metadata=4),
    cache=Cache(dtype="float32"),
    rows=Rows(batch=16),
)
HALF = replace(FROZEN, cache=Cache(dtype="float16"), views=Views(2))
SMALL = replace(
    FROZEN, backbone="SampleNet", stages=(Stage(2, 1e-3), Stage(2, 1e-4, unfreeze="relu_6"))
)
RECIPES = dict(
    scratch=SCRATCH,
    options=OPTIONS,
    cached=FROZEN,
    uncached=FROZEN,
    half=HALF,
    small_cached=SMALL,
    small_uncached=SMALL,
)


def toy(n=84, size=32, seed=0):
    "Pictures whose class is the place of a bright patch, and their table."
    rng = np.random.default_rng(seed)
    y = np.arange(n) % len(HAM10000.classes)
    images = rng.integers(0, 120, (n, size, size, 3), "uint8")
    for image, c in zip(images, y):
        image[4 * c:4 * c + 4, :16] += 100
    split = np.resize(["train"] * 5 + ["valid", "test"], n)
    table = pd.DataFrame(
        dict(
            image_id=[f"toy_{i}" for i in range(n)],
            dx=np.array(HAM10000.classes)[y],
            age=50. + y,
            sex="male",
            localization="back",
            split=split,
        )
    )
    table = table.sample(frac=1, random_state=1).reset_index(drop=True)
    return with_task(table, HAM10000), images


def main(kind, out, die_in_epoch, weights=""):
    "Train, and be killed in the middle of an epoch if asked to."
    def die(self, batch, logs=None):
        if len(self.history) == die_in_epoch and batch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    if die_in_epoch >= 0:
        Checkpoint.on_train_batch_end = die
    table, images = toy()
    fit = fit_recipe(RECIPES[kind], table, images, out, weights=weights or None,
                     cached=not kind.endswith("uncached"), folder=f"{out}/cache", verbose=0)
    fit.history.to_csv(Path(out) / "history.csv", index=False)
    np.savez(Path(out) / "result.npz", *fit.model.get_weights(), probabilities=fit.probabilities)


if __name__ == "__main__":
    kinds, out, *rest = sys.argv[1:]
    for kind in kinds.split("+"):  # several: each into a folder of its name
        place = Path(out, kind) if "+" in kinds else Path(out)
        place.mkdir(parents=True, exist_ok=True)
        main(kind, place, int(rest[0]), *rest[1:])
