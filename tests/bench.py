"""Speed of the published way and of ours, in one run.

    make bench
    python tests/bench.py --data DIR --only road,step

Each comparison alternates between the two ways, several times, and prints median rates with their
range and the ratio of the medians. What is extrapolated says so.
"""
import argparse
import os
import shutil
import statistics as st
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TQDM_DISABLE", "1")

# of the published HAM10000 notebook
PUBLISHED_ROWS = 37_548  # in each epoch, after oversampling
EPOCHS = 20
IMAGES = 10_015
TRAIN = 7_211  # of these images in the training part of its split

def timed(f):
    "Seconds that a call takes."
    begun = time.perf_counter()
    f()
    return time.perf_counter() - begun

def alternate(a, b, runs=5):
    "Seconds of both functions, run in turn after one warm-up each."
    return alternate_all([a, b], runs)

def alternate_all(ways, runs=5):
    "Seconds of several functions, run in turn after one warm-up each."
    for way in ways:
        way()
    rounds = [[timed(way) for way in ways] for _ in range(runs)]
    return list(zip(*rounds))

def show(what, n, seconds, unit="images/s"):
    "Print the median rate of some runs over n pictures or rows, and return it."
    rates = sorted(n / s for s in seconds)
    median = st.median(rates)
    spread = f"({rates[0]:,.1f} – {rates[-1]:,.1f}, {len(rates)} runs)"
    print(f"  {what:<58} {median:>9,.1f} {unit}  {spread}", flush=True)
    return median

def verdict(what, ratio, bar):
    "Say whether a ratio reaches its goal."
    reached = "reached" if ratio >= bar else "NOT reached"
    print(f"  => {what}: {ratio:.1f}× (goal {bar}×): {reached}\n", flush=True)

def print_machine():
    "What the figures belong to."
    from skin_nb.pictures import available_cores
    versions = ", ".join(map(version_of, ("tensorflow", "keras", "openvino")))
    print(f"{available_cores()} cores of {processor_name()}; {versions}\n", flush=True)

def version_of(name):
    "An installed package and its version, or that it is not there."
    from importlib.metadata import PackageNotFoundError, version
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"

def processor_name():
    "As Linux knows it."
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "CPU"

def road(table, weights, work):
    """The published recipe, its way (every row through the frozen network) and ours (every image
    once per view)."""
    import pandas as pd
    from skin_nb.graph import cut_model
    from skin_nb.models import build_model, set_trainable
    from skin_nb.recipes.resnet50v2 import AS_PUBLISHED
    from skin_nb.tasks import HAM10000
    share = min(1, 192 / len(table))
    part = table.groupby("dx", group_keys=False).sample(frac=share, random_state=0)
    n = len(part)
    # random weights cost what trained ones cost
    model, backbone = build_model(AS_PUBLISHED, HAM10000)
    set_trainable(model, backbone, 0)
    prefix, suffix = cut_model(model, "pool")
    y = pd.Categorical(part.dx).codes.astype("int64")
    print("published training of ResNet50V2 on HAM10000: "
          f"{PUBLISHED_ROWS:,} rows × {EPOCHS} epochs")
    print(f"  measured on {n} images")
    ours = ways_through(prefix, part, work)
    seconds = alternate_all([published_epoch(model, part, y), *ours.values()])
    old = show("published way: ImageDataGenerator + frozen network", n, seconds[0])
    rates = {}
    for name, taken in zip(ours, seconds[1:]):
        rates[name] = show(f"ours: prefix by {name}, each image once per view", n, taken)
    print_road(old, rates, rate_behind_cut(suffix), rate_of_decoding(part, work))

def published_epoch(model, part, y):
    "A function: one epoch as published, with an ImageDataGenerator."
    import keras
    import numpy as np
    import tensorflow as tf
    generator = tf.keras.preprocessing.image.ImageDataGenerator(
        rescale=1 / 255, rotation_range=20, zoom_range=.2, horizontal_flip=True, vertical_flip=True
    )
    rows = part.assign(dx=y.astype(str))
    flow = generator.flow_from_dataframe(
        rows, x_col="path", y_col="dx", target_size=(224, 224), class_mode="sparse",
        batch_size=32, shuffle=False, verbose=0,
    )
    model.compile(keras.optimizers.Adam(1e-4), keras.losses.SparseCategoricalCrossentropy())
    def epoch():
        for i in range(len(flow)):
            x, target = flow[i]
            model.train_on_batch(np.asarray(x), np.asarray(target))
    return epoch

def ways_through(prefix, part, work):
    "Functions by engine: every image once through the prefix."
    import numpy as np
    from skin_nb.batches import Views
    from skin_nb.engine import Engine, make_forward
    from skin_nb.pictures import decode_images
    from skin_nb.prefix import image_source
    n = len(part)
    source = image_source(decode_images(part, 224, folder=work), Views(4))
    def way(engine):
        forward, used = make_forward(prefix, engine)
        if used != engine:
            print(f"  (instead of {engine}: {used})")
        def through():
            for batch, begin in enumerate(range(0, n, 32)):
                forward(source.read(batch % 4, np.arange(begin, min(begin + 32, n))))
        return through
    engines = Engine("keras"), Engine("openvino"), Engine("openvino", "bfloat16")
    return {str(engine): way(engine) for engine in engines}

def rate_behind_cut(suffix):
    "Rows a second of a head that trains on cached features of four views."
    import keras
    import numpy as np
    from skin_nb.batches import make_batches
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(IMAGES, 2048)).astype("float16") for _ in range(4)]
    rows = np.resize(np.arange(TRAIN), 32 * 500)
    batches = make_batches(features, rows, np.arange(IMAGES) % 7, batch_size=32, shuffle=True)
    loss = keras.losses.SparseCategoricalCrossentropy()
    # eight steps at once, as fit_recipe does behind a frozen backbone
    suffix.compile(keras.optimizers.Adam(1e-4), loss, steps_per_execution=8)
    def epoch():
        batches.epoch += 1
        suffix.fit(batches, epochs=1, shuffle=False, verbose=0)
    epoch()
    seconds = [timed(epoch) for _ in range(5)]
    return show("ours: training behind the cut", len(rows), seconds, "rows/s")

def rate_of_decoding(part, work):
    "Pictures a second, from files, with nothing decoded before."
    from skin_nb.pictures import decode_images
    def cold():
        shutil.rmtree(f"{work}/cold", ignore_errors=True)
        decode_images(part, 224, folder=f"{work}/cold")
    return show("ours: decoding, once", len(part), [timed(cold) for _ in range(5)])

def print_road(old, rates, head, decoding):
    "Both ways, extrapolated to the whole of HAM10000 from rates a second."
    theirs = PUBLISHED_ROWS * EPOCHS / old
    for views, bar in (4, 45), (1, 100):
        passes = TRAIN * views + IMAGES - TRAIN  # validation and test images need one view
        for name, rate in rates.items():
            mine = IMAGES / decoding + passes / rate + PUBLISHED_ROWS * EPOCHS / head
            print(f"  extrapolated to HAM10000, {views} view(s), {name}: "
                  f"{theirs / 3600:.1f} h against {mine / 60:.1f} min "
                  f"({passes:,} passes instead of {PUBLISHED_ROWS * EPOCHS:,})")
            verdict(f"{views} view(s), {name}", theirs / mine, bar)

def step(table, weights, work):
    "One fine-tuning step with cached prefix and without."
    import keras
    import numpy as np
    from skin_nb.backbones import training_copy
    from skin_nb.graph import cut_model
    from skin_nb.prefix import find_cut
    from skin_nb.recipe import Recipe
    from skin_nb.tasks import HAM10000
    from skin_nb.models import build_model, set_trainable

    for net, size, unfreeze, bar in (
        ("EfficientNetB1", 384, 40, 4.5),
        ("EfficientNetV2S", 224, .3, 3.),
        ("EfficientNetB4", 224, "block5f_add", None),
    ):
        model, backbone = build_model(Recipe(net, net, size, ()), HAM10000)
        set_trainable(model, backbone, unfreeze)
        cut = find_cut(model)
        prefix, suffix = cut_model(model, cut.layer)
        x = np.random.default_rng(0).integers(0, 256, (16, size, size, 3)).astype("float32")
        y = np.arange(16) % 7
        features = prefix.predict_on_batch(x)
        whole = ("whole network in every step", model, x)
        short = training_copy(suffix, "pointwise_bfloat16")
        ours = [
            ("behind the cut, the library's layers", suffix, features),
            ("behind the cut", training_copy(suffix), features),
            ("behind the cut, 1 × 1 products in bfloat16", short, features),
        ]
        for _, m, _ in whole, *ours:
            m.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy")
        print(f"fine-tuning {net} at {size} px, top {unfreeze}: cut at {cut.layer}, "
              f"{cut.kb:.0f} kB an image, "
              f"{cut.remaining:.0%} of the multiply-accumulates remain")
        seconds = alternate_all(
            [lambda m=m, z=z: m.train_on_batch(z, y) for _, m, z in (whole, *ours)], runs=7
        )
        old = show(whole[0], 16, seconds[0])
        for (what, _, _), s in zip(ours, seconds[1:]):
            new = show(what, 16, s)
            if bar:
                verdict(what, new / old, bar)

def epochs(table, weights, work):
    "An epoch from the mapped image cache against one from arrays in memory."
    import numpy as np
    from skin_nb.pictures import decode_images
    from skin_nb.batches import make_batches
    from skin_nb.recipe import Head, Recipe
    from skin_nb.tasks import HAM10000
    from skin_nb.models import build_model

    images = decode_images(table.head(2000), 64, folder=work)
    n = len(images)
    model, _ = build_model(
        Recipe("cnn", "CustomCNN", 64, (), head=Head(pool="flatten", dense=(64,))), HAM10000
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    y, memory = np.arange(n) % 7, np.array(images).astype("float32")
    mapped = make_batches(images, np.arange(n), y, batch_size=32)
    a, b = alternate(
        lambda: model.fit(memory, y, batch_size=32, shuffle=False, verbose=0),
        lambda: model.fit(mapped, shuffle=False, verbose=0),
        runs=7,
    )
    print(f"an epoch of the custom network at 64 px, {n} images")
    old = show("float32 arrays in memory", n, a)
    new = show("uint8 image cache, memory-mapped", n, b)
    verdict("rate", new / old, .9)

def decode(table, weights, work):
    "Cold decode with its cache file against Pillow alone, as many threads."
    from concurrent.futures import ThreadPoolExecutor
    import numpy as np
    from PIL import Image
    from skin_nb.pictures import available_cores, decode_images
    part = table.head(1500)
    def one(p):
        with Image.open(p) as im:
            return np.asarray(im.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
    def pillow():
        with ThreadPoolExecutor(available_cores()) as pool:
            list(pool.map(one, part.path))

    def ours():
        shutil.rmtree(f"{work}/decode", ignore_errors=True)
        decode_images(part, 224, folder=f"{work}/decode")
    a, b = alternate(pillow, ours)
    print(f"decoding {len(part)} images to 224 px")
    new = show("ours, checksums and file included", len(part), b)
    old = show("Pillow alone", len(part), a)
    verdict("rate", new / old, .8)

def start(table, weights, work):
    "Start-up times of fresh processes."
    python, command = sys.executable, str(Path(sys.executable).parent / "skin_nb_run")
    print("start-up, seconds of a fresh process "
          "(goals: import under 0.2 above Python itself, --help under 0.5)")
    commands = {
        "python -c pass": [python, "-c", "pass"],
        "import skin_nb": [python, "-c", "import skin_nb"],
        "skin_nb_run --help": [command, "--help"],
    }
    for what, words in commands.items():
        def start_once():
            subprocess.run(words, capture_output=True, check=True)
        s = sorted(timed(start_once) for _ in range(7))
        print(f"  {what:<58} {st.median(s):.3f} s  ({s[0]:.3f} – {s[-1]:.3f})")
    print()

def convnext(table, weights, work):
    "ConvNeXt's grouped convolutions against the depthwise ones that replace them (TensorFlow)."
    import keras
    import numpy as np
    from skin_nb.backbones import swap_depthwise
    keras.utils.set_random_seed(0)
    slow = keras.applications.ConvNeXtSmall(
        include_top=False, weights=None, input_shape=(224, 224, 3)
    )
    fast = swap_depthwise(slow)
    x = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3)).astype("float32")
    apart = np.abs(slow.predict_on_batch(x) - fast.predict_on_batch(x)).max()
    print(f"ConvNeXt-Small at 224 px; largest difference of outputs {apart:.1e}")
    a, b = alternate(lambda: slow.predict_on_batch(x), lambda: fast.predict_on_batch(x))
    old, new = show("grouped convolutions", 8, a), show("depthwise convolutions", 8, b)
    verdict("forward pass", new / old, 4)

def memory(table, weights, work):
    """Anonymous memory of one step of EfficientNetB3 at 512 px on 32 pictures, the whole network
    training, each way in a process of its own."""
    print("one step of EfficientNetB3 at 512 px on 32 pictures: "
          "batches whose gradients are averaged (goal: under 6,144 MiB)")
    cases = [("float32", 8), ("float32", 4), ("float32", 2)]
    cases += [("mixed_bfloat16", 8), ("mixed_bfloat16", 4)]
    for precision, batch in cases:
        words = [sys.executable, __file__, "--step", precision, str(batch)]
        found = subprocess.run(words, capture_output=True, text=True, check=True)
        mb, seconds = map(float, found.stdout.split()[-2:])
        what = f"{precision:<16} {32 // batch:>2} batches of {batch:<2}"
        print(f"  {what} {mb:>38,.0f} MiB  {seconds:6.0f} s", flush=True)
    print()

def one_step(precision, batch):
    """Print the peak of anonymous memory, MiB, and the seconds of a step on 32 pictures that are
    read from disk."""
    import numpy as np
    from skin_nb.backbones import _application_entry, register_backbone, training_copy
    from skin_nb.balancing import Loss
    from skin_nb.batches import make_batches
    from skin_nb.core import MemoryPeak
    from skin_nb.recipe import Head, Recipe, Rows, Stage
    from skin_nb.tasks import MELANOMA
    from skin_nb.models import build_model, make_loss, set_trainable
    from skin_nb.training import _make_optimizer
    register_backbone(_application_entry("EfficientNetB3", 300, "0..255"))
    recipe = Recipe(
        "b3",
        "EfficientNetB3",
        512,
        (Stage(1, 1e-3, unfreeze="all"),),
        head=Head(output="sigmoid"),
        rows=Rows(batch=batch, accumulate=32 // batch),
        precision=precision,
    )
    model, backbone = build_model(recipe, MELANOMA)
    set_trainable(model, backbone, "all")
    net = training_copy(model)
    with tempfile.TemporaryDirectory() as work:
        images = np.lib.format.open_memmap(f"{work}/images.npy", "w+", "uint8", (32, 512, 512, 3))
        images[:] = np.random.default_rng(0).integers(0, 256, (32, 1, 1, 3), "uint8")
        batches = make_batches(images, np.arange(32), np.arange(32) % 2, batch_size=batch)
        net.compile(
            _make_optimizer(recipe, recipe.stages[0], len(batches)),
            make_loss(Loss(), 2),
            auto_scale_loss=False,
        )
        with MemoryPeak() as peak:
            seconds = timed(lambda: net.fit(batches, epochs=1, shuffle=False, verbose=0))
    print(peak.mb, seconds)

def predict(table, weights, work):
    "From JPEG files to probabilities of MobileNetV2."
    from skin_nb.core import MemoryPeak
    from skin_nb.engine import Engine, make_forward
    from skin_nb.pictures import decode_images
    from skin_nb.recipe import Recipe
    from skin_nb.tasks import HAM10000
    from skin_nb.models import build_model

    part = table.head(1024)
    n = len(part)
    model, _ = build_model(Recipe("m", "MobileNetV2", 224, ()), HAM10000)
    def way(*engine):
        forward, _ = make_forward(model, Engine(*engine), 64)
        def whole():
            shutil.rmtree(f"{work}/predict", ignore_errors=True)
            images = decode_images(part, 224, folder=f"{work}/predict")
            return [forward(images[at:at + 64]) for at in range(0, n, 64)]
        return whole
    print(f"prediction with MobileNetV2 at 224 px from {n} JPEG files, decoding included")
    with MemoryPeak() as peak:
        seconds = alternate_all(
            [way("keras"), way("openvino"), way("openvino", "bfloat16")], runs=3
        )
    for name, s in zip(("keras float32", "openvino float32", "openvino bfloat16"), seconds):
        rate = show(name, n, s)
        print(f"  => goal 250 images/s: {'reached' if rate >= 250 else 'NOT reached'}")
    print(f"  peak of anonymous memory, all three in one process: {peak.mb:,.0f} MiB\n")

def growth(table, weights, work):
    """How decoding, features and training of a head grow with the number of pictures (MobileNetV2,
    one view, one epoch)."""
    import pandas as pd
    from dataclasses import replace
    from skin_nb.core import MemoryPeak
    from skin_nb.pictures import decode_images
    from skin_nb.preparation import split_by_lesion
    from skin_nb.recipe import Stage
    from skin_nb.recipes.mobilenet_v2 import HONEST
    from skin_nb.training import fit_recipe
    recipe = replace(HONEST, stages=(Stage(1, 1e-3),), views=replace(HONEST.views, count=1))
    attrs = table.attrs
    table = table.sample(frac=1, random_state=0)
    again = table.assign(image_id=table.image_id + "_again", lesion_id=table.lesion_id + "_again")
    doubled = pd.concat([table, again], ignore_index=True)
    doubled.attrs = attrs
    print("seconds and anonymous memory of a whole fold, from files to predictions")
    for n in 1000, 2500, 5000, 10015, 20030:
        if n > len(doubled):
            break
        part = split_by_lesion(doubled.head(n).reset_index(drop=True), 0)
        def whole():
            images = decode_images(part, 224, folder=f"{work}/growth{n}")
            fit_recipe(
                recipe,
                part,
                images,
                f"{work}/fit{n}",
                weights or "random",
                folder=f"{work}/features{n}",
                verbose=0,
            )

        with MemoryPeak() as peak:
            s = timed(whole)
        print(f"  {n:>6,} pictures {s:>8.1f} s {peak.mb:>8,.0f} MiB", flush=True)
        shutil.rmtree(f"{work}/features{n}", ignore_errors=True)
    print()

def quality(table, weights, work):
    """Published training of ResNet50V2 (fresh augmentation in every epoch, the whole network in
    every step) and ours on 2,000 pictures, five epochs, three seeds."""
    import numpy as np
    import pandas as pd
    from dataclasses import replace
    from skin_nb.batches import Views
    from skin_nb.evaluation import paired_difference
    from skin_nb.pictures import decode_images
    from skin_nb.predictions import predictions_table
    from skin_nb.preparation import split_by_lesion
    from skin_nb.recipe import Cache, Stage
    from skin_nb.recipes.resnet50v2 import AS_PUBLISHED
    from skin_nb.tasks import task_of, with_task
    from skin_nb.training import fit_recipe
    lesions = np.random.default_rng(0).permutation(table.lesion_id.unique())
    place = table.lesion_id.map(pd.Series(range(len(lesions)), lesions))
    order = place.sort_values(kind="stable").index[:2000]
    part = split_by_lesion(with_task(table.loc[order].reset_index(drop=True), task_of(table)), 0)
    images = decode_images(part, AS_PUBLISHED.size)
    brief = replace(AS_PUBLISHED, stages=(Stage(5, 1e-4),))
    augment = (("flip", "both"), ("rotation", 20 / 360), ("zoom", .2))
    ways = {"published": (replace(brief, views=Views(), augment=augment), False)}
    for views in 4, 1:
        for precision in "float32", "bfloat16":
            seen = replace(brief.views, count=views)
            recipe = replace(brief, views=seen, cache=Cache(precision=precision))
            ways[f"{views} view(s), {precision}"] = (recipe, True)
    found = {name: [] for name in ways}
    seconds = {name: 0. for name in ways}
    for seed in range(3):
        for name, (recipe, cached) in ways.items():
            out = f"{work}/{name}{seed}"
            fit = fit_recipe(
                replace(recipe, seed=seed), part, images, out, weights,
                cached=cached, folder=f"{out}_features", verbose=0,
            )
            seconds[name] += fit.seconds
            answers = predictions_table(part, fit.probabilities, fit.rows)
            found[name].append(answers.assign(image_id=answers.image_id + f"_{seed}"))
    pooled = {
        name: with_task(pd.concat(tables, ignore_index=True), task_of(table))
        for name, tables in found.items()
    }
    print(f"balanced accuracy on {len(part)} pictures, lesion split, three seeds; "
          "seconds of all three, features computed each time")
    for name, answers in pooled.items():
        d = paired_difference(answers, pooled["published"])
        interval = f"{d['difference']:+.3f} ({d['lo']:+.3f} to {d['hi']:+.3f})"
        print(f"  {name:<24} {d['a']:.3f}  against the published way {interval}"
              f"  {seconds[name]:8.0f} s", flush=True)
    print()

PARTS = dict(start=start, decode=decode, epochs=epochs, step=step, convnext=convnext)
PARTS |= dict(road=road, predict=predict, memory=memory)
LONG = dict(growth=growth, quality=quality)  # only when asked for

if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        sys.exit(one_step(sys.argv[2], int(sys.argv[3])))
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument(
        "--data",
        default=os.environ.get("SKIN_NB_DATA") or "sample",
        help="sample, or a data folder",
    )
    ap.add_argument(
        "--weights",
        default=os.environ.get("SKIN_NB_WEIGHTS") or None,
        help="of the parts quality and growth: imagenet, file or folder; without: random ones",
    )
    ap.add_argument(
        "--only", default=",".join(PARTS), help="parts to run, of: " + ", ".join(PARTS | LONG)
    )
    a = ap.parse_args()
    unknown = [name for name in a.only.split(",") if name not in PARTS | LONG]
    if unknown:
        ap.error(f"no part {', '.join(unknown)}; there are " + ", ".join(PARTS | LONG))
    from skin_nb.experiment import load_data
    table = load_data(a.data)
    print_machine()
    with tempfile.TemporaryDirectory() as work:
        for name in a.only.split(","):
            (PARTS | LONG)[name](table, a.weights, work)
