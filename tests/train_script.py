"Trains a small two-stage recipe on synthetic pictures; run as a program by the tests, so that it can be killed and can choose its back end."
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, pandas as pd
from skin_nb.core import CLASSES
from skin_nb.batches import Views
from skin_nb.training import Checkpoint, fit_recipe
from skin_nb.recipe import Recipe, Stage

SCRATCH = Recipe("scratch", "CustomCNN", 32, (Stage(4, 1e-3, unfreeze="all", patience=3), Stage(2, 1e-4, unfreeze="conv_1")), scratch=True, pool="flatten", dense=(16,), dropout=.3,
                 augment=(("flip", "horizontal"),), batch=16)
MIXED = replace(SCRATCH, stages=(replace(SCRATCH.stages[0], plateau=1), replace(SCRATCH.stages[1], cosine=True)), mixup=.2, ema=.9, balance="sqrt")
FROZEN = Recipe("frozen", "MobileNetV2", 32, (Stage(2, 1e-3), Stage(2, 1e-4, unfreeze="block_14_add")), dropout=.3, metadata=4, cache_dtype="float32", batch=16)

def toy(n=84, size=32, seed=0):
    "Pictures whose class is the brightness of a patch, and their table."
    rng, y = np.random.default_rng(seed), np.arange(n) % 7
    images = rng.integers(0, 120, (n, size, size, 3), "uint8")
    for i, c in enumerate(y): images[i, 4 * c:4 * c + 4, :16] += 100
    table = pd.DataFrame(dict(image_id=[f"toy_{i}" for i in range(n)], dx=np.array(CLASSES)[y], age=50. + y, sex="male", localization="back", split=np.resize(["train"] * 5 + ["valid", "test"], n)))
    return table.sample(frac=1, random_state=1).reset_index(drop=True), images

def main(kind, out, die_in_epoch, weights=""):
    "Train, and be killed in the middle of an epoch if asked to."
    def die(self, batch, logs=None):
        if len(self.history) == die_in_epoch and batch == 1: os.kill(os.getpid(), signal.SIGKILL)
    if die_in_epoch >= 0: Checkpoint.on_train_batch_end = die
    table, images = toy()
    recipe = {"scratch": SCRATCH, "mixed": MIXED, "cached": FROZEN, "uncached": FROZEN, "half": replace(FROZEN, cache_dtype="float16", views=Views(2))}[kind]
    fit = fit_recipe(recipe, table, images, out, weights=weights or None, cached=kind != "uncached", folder=f"{out}/cache", verbose=0)
    fit.history.to_csv(Path(out) / "history.csv", index=False)
    np.savez(Path(out) / "result.npz", *fit.model.get_weights(), probabilities=fit.probabilities)

if __name__ == "__main__": main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
