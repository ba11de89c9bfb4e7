"""Speed of the published way and of ours, in one run: `make bench`, or `python tests/bench.py [--data DIR] [--only road,step,…]`.

Each comparison alternates between the two ways, several times, and prints median rates with their range and the ratio of the medians. What is extrapolated says so.
"""
import argparse, os, shutil, statistics as st, subprocess, sys, tempfile, time
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3"); os.environ.setdefault("TQDM_DISABLE", "1")
from pathlib import Path

PUBLISHED_ROWS, EPOCHS, IMAGES, TRAIN = 37_548, 20, 10_015, 7_211  # of the HAM10000 notebook; images in all, and in the training part of the published split

def timed(f):
    begun = time.perf_counter(); f()
    return time.perf_counter() - begun

def alternate(a, b, runs=5):
    "Seconds of both functions, run in turn after one warm-up each."
    return alternate_all([a, b], runs)

def alternate_all(ways, runs=5):
    "Seconds of several functions, run in turn after one warm-up each."
    for way in ways: way()
    rounds = [[timed(way) for way in ways] for _ in range(runs)]
    return list(zip(*rounds))

def show(what, n, seconds, unit="images/s"):
    rates = sorted(n / s for s in seconds)
    print(f"  {what:<58} {st.median(rates):>9,.1f} {unit}  ({rates[0]:,.1f} – {rates[-1]:,.1f}, {len(rates)} runs)", flush=True)
    return st.median(rates)

def verdict(what, ratio, bar): print(f"  => {what}: {ratio:.1f}× (goal {bar}×): {'reached' if ratio >= bar else 'NOT reached'}\n", flush=True)

def print_machine():
    "What the figures belong to."
    from importlib.metadata import version, PackageNotFoundError
    def found(name):
        try: return f"{name} {version(name)}"
        except PackageNotFoundError: return f"no {name}"
    names = Path("/proc/cpuinfo").read_text().split("model name")[1:] if Path("/proc/cpuinfo").exists() else []
    name = names[0].split("\n")[0].strip("\t: ") if names else "CPU"
    from skin_nb.pictures import available_cores
    print(f"{available_cores()} cores of {name}; " + ", ".join(map(found, ("tensorflow", "keras", "openvino"))) + "\n", flush=True)

def road(table, weights, work):
    "The published recipe, its way and ours: every row through the frozen network, or every image once per view."
    import keras, numpy as np, pandas as pd, tensorflow as tf
    from dataclasses import replace
    from skin_nb.pictures import decode_images
    from skin_nb.batches import Views, make_batches
    from skin_nb.engine import Engine, make_forward
    from skin_nb.graph import cut_model
    from skin_nb.prefix import image_source
    from skin_nb.recipes.resnet50v2 import AS_PUBLISHED
    from skin_nb.tasks import HAM10000
    from skin_nb.models import build_model, set_trainable
    part = table.groupby("dx", group_keys=False).sample(frac=min(1, 192 / len(table)), random_state=0)
    recipe, n = AS_PUBLISHED, len(part)
    model, backbone = build_model(recipe, HAM10000)  # random weights cost what trained ones cost
    set_trainable(model, backbone, 0)
    prefix, suffix = cut_model(model, "pool")
    y = pd.Categorical(part.dx).codes.astype("int64")
    generator = tf.keras.preprocessing.image.ImageDataGenerator(rescale=1 / 255, rotation_range=20, zoom_range=.2, horizontal_flip=True, vertical_flip=True)
    flow = generator.flow_from_dataframe(part.assign(dx=y.astype(str)), x_col="path", y_col="dx", target_size=(224, 224), class_mode="sparse", batch_size=32, shuffle=False, verbose=0)
    loss = keras.losses.SparseCategoricalCrossentropy()
    model.compile(keras.optimizers.Adam(1e-4), loss)
    published = lambda: [model.train_on_batch(*(np.asarray(v) for v in flow[i])) for i in range(len(flow))]
    images = decode_images(part, 224, folder=work)
    source = image_source(images, Views(4))
    def way(*engine):
        "Every image once through the prefix, by an engine."
        forward, used = make_forward(prefix, Engine(*engine))
        if used != Engine(*engine):
            print(f"  (instead of {Engine(*engine)})")
        return lambda: [forward(source.read(at // 32 % 4, np.arange(at, min(at + 32, n)))) for at in range(0, n, 32)]
    ways = {str(Engine(*e)): way(*e) for e in (("keras",), ("openvino",), ("openvino", "bfloat16"))}
    print(f"published training of ResNet50V2 on HAM10000: {PUBLISHED_ROWS:,} rows × {EPOCHS} epochs; measured on {n} images")
    seconds = alternate_all([published, *ways.values()])
    old = show("published way: ImageDataGenerator + frozen network", n, seconds[0])
    rates = {name: show(f"ours: prefix by {name}, each image once per view", n, s) for name, s in zip(ways, seconds[1:])}
    features = [np.random.default_rng(v).normal(size=(IMAGES, 2048)).astype("float16") for v in range(4)]
    many = np.resize(np.arange(TRAIN), 32 * 500)
    batches = make_batches(features, many, np.arange(IMAGES) % 7, batch_size=32, shuffle=True)
    suffix.compile(keras.optimizers.Adam(1e-4), loss, steps_per_execution=8)  # as fit_recipe does behind a frozen backbone
    fit = lambda: (setattr(batches, "epoch", batches.epoch + 1), suffix.fit(batches, epochs=1, shuffle=False, verbose=0))
    fit()
    head = show("ours: training behind the cut", len(many), [timed(fit) for _ in range(5)], "rows/s")
    cold = show("ours: decoding, once", n, [timed(lambda: (shutil.rmtree(f"{work}/cold", ignore_errors=True), decode_images(part, 224, folder=f"{work}/cold"))) for _ in range(5)])
    theirs = PUBLISHED_ROWS * EPOCHS / old
    cases = [(views, bar, *rate) for views, bar in ((4, 45), (1, 100)) for rate in rates.items()]
    for views, bar, name, new in cases:
        passes = TRAIN * views + IMAGES - TRAIN  # validation and test images need one view
        mine = IMAGES / cold + passes / new + PUBLISHED_ROWS * EPOCHS / head
        print(f"  extrapolated to HAM10000, {views} view(s), {name}: {theirs / 3600:.1f} h against {mine / 60:.1f} min ({passes:,} passes instead of {PUBLISHED_ROWS * EPOCHS:,})")
        verdict(f"{views} view(s), {name}", theirs / mine, bar)

def step(table, weights, work):
    "One fine-tuning step with cached prefix and without."
    import keras, numpy as np
    from skin_nb.backbones import training_copy
    from skin_nb.graph import cut_model
    from skin_nb.prefix import find_cut
    from skin_nb.recipe import Recipe
    from skin_nb.tasks import HAM10000
    from skin_nb.models import build_model, set_trainable
    for net, size, unfreeze, bar in ("EfficientNetB1", 384, 40, 4.5), ("EfficientNetV2S", 224, .3, 3.), ("EfficientNetB4", 224, "block5f_add", None):
        model, backbone = build_model(Recipe(net, net, size, ()), HAM10000)
        set_trainable(model, backbone, unfreeze)
        cut = find_cut(model)
        prefix, suffix = cut_model(model, cut.layer)
        x, y = np.random.default_rng(0).integers(0, 256, (16, size, size, 3)).astype("float32"), np.arange(16) % 7
        features = prefix.predict_on_batch(x)
        whole = ("whole network in every step", model, x)
        ours = [("behind the cut, the library's layers", suffix, features), ("behind the cut", training_copy(suffix), features),
                ("behind the cut, 1 × 1 products in bfloat16", training_copy(suffix, "pointwise_bfloat16"), features)]
        for _, m, _ in whole, *ours: m.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy")
        print(f"fine-tuning {net} at {size} px, top {unfreeze}: cut at {cut.layer}, {cut.kb:.0f} kB an image, {cut.remaining:.0%} of the multiply-accumulates remain")
        seconds = alternate_all([lambda m=m, z=z: m.train_on_batch(z, y) for _, m, z in (whole, *ours)], runs=7)
        old = show(whole[0], 16, seconds[0])
        for (what, _, _), s in zip(ours, seconds[1:]):
            new = show(what, 16, s)
            if bar: verdict(what, new / old, bar)

def epochs(table, weights, work):
    "An epoch from the mapped image cache against one from arrays in memory."
    import keras, numpy as np
    from skin_nb.pictures import decode_images
    from skin_nb.batches import make_batches
    from skin_nb.recipe import Head, Recipe
    from skin_nb.tasks import HAM10000
    from skin_nb.models import build_model
    images = decode_images(table.head(2000), 64, folder=work); n = len(images)
    model, _ = build_model(Recipe("cnn", "CustomCNN", 64, (), head=Head(pool="flatten", dense=(64,))), HAM10000)
    model.compile("adam", "sparse_categorical_crossentropy")
    y, memory = np.arange(n) % 7, np.array(images).astype("float32")
    mapped = make_batches(images, np.arange(n), y, batch_size=32)
    a, b = alternate(lambda: model.fit(memory, y, batch_size=32, shuffle=False, verbose=0), lambda: model.fit(mapped, shuffle=False, verbose=0), runs=7)
    print(f"an epoch of the custom network at 64 px, {n} images")
    old, new = show("float32 arrays in memory", n, a), show("uint8 image cache, memory-mapped", n, b)
    verdict("rate", new / old, .9)

def decode(table, weights, work):
    "Cold decode with its cache file against Pillow alone, as many threads."
    from concurrent.futures import ThreadPoolExecutor
    import numpy as np
    from PIL import Image
    from skin_nb.pictures import available_cores, decode_images
    part = table.head(1500)
    def one(p):
        with Image.open(p) as im: return np.asarray(im.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
    def pillow():
        with ThreadPoolExecutor(available_cores()) as pool: list(pool.map(one, part.path))
    def ours(): shutil.rmtree(f"{work}/decode", ignore_errors=True); decode_images(part, 224, folder=f"{work}/decode")
    a, b = alternate(pillow, ours)
    print(f"decoding {len(part)} images to 224 px")
    verdict("rate", show("ours, checksums and file included", len(part), b) / show("Pillow alone", len(part), a), .8)

def start(table, weights, work):
    "Start-up times of fresh processes."
    python, command = sys.executable, str(Path(sys.executable).parent / "skin_nb_run")
    print("start-up, seconds of a fresh process (goals: import under 0.2 above Python itself, --help under 0.5)")
    for what, cmd in ("python -c pass", [python, "-c", "pass"]), ("import skin_nb", [python, "-c", "import skin_nb"]), ("skin_nb_run --help", [command, "--help"]):
        s = sorted(timed(lambda: subprocess.run(cmd, capture_output=True, check=True)) for _ in range(7))
        print(f"  {what:<58} {st.median(s):.3f} s  ({s[0]:.3f} – {s[-1]:.3f})")
    print()

def convnext(table, weights, work):
    "ConvNeXt's grouped convolutions against the depthwise ones that replace them (TensorFlow)."
    import keras, numpy as np
    from skin_nb.backbones import swap_depthwise
    keras.utils.set_random_seed(0)
    slow = keras.applications.ConvNeXtSmall(include_top=False, weights=None, input_shape=(224, 224, 3)); fast = swap_depthwise(slow)
    x = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3)).astype("float32")
    print(f"ConvNeXt-Small at 224 px; largest difference of outputs {np.abs(slow.predict_on_batch(x) - fast.predict_on_batch(x)).max():.1e}")
    a, b = alternate(lambda: slow.predict_on_batch(x), lambda: fast.predict_on_batch(x))
    old, new = show("grouped convolutions", 8, a), show("depthwise convolutions", 8, b)
    verdict("forward pass", new / old, 4)

def memory(table, weights, work):
    "Anonymous memory of one step of EfficientNetB3 at 512 px on 32 pictures, the whole network training, each way in a process of its own."
    print("one step of EfficientNetB3 at 512 px on 32 pictures: batches whose gradients are averaged (goal: under 6,144 MiB)")
    for precision, batch in ("float32", 8), ("float32", 4), ("float32", 2), ("mixed_bfloat16", 8), ("mixed_bfloat16", 4):
        found = subprocess.run([sys.executable, __file__, "--step", precision, str(batch)], capture_output=True, text=True, check=True)
        mb, seconds = map(float, found.stdout.split()[-2:])
        print(f"  {precision:<16} {32 // batch:>2} batches of {batch:<2} {mb:>38,.0f} MiB  {seconds:6.0f} s", flush=True)
    print()

def one_step(precision, batch):
    "Print the peak of anonymous memory, MiB, and the seconds of a step on 32 pictures that are read from disk."
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
    recipe = Recipe("b3", "EfficientNetB3", 512, (Stage(1, 1e-3, unfreeze="all"),), head=Head(output="sigmoid"), rows=Rows(batch=batch, accumulate=32 // batch), precision=precision)
    model, backbone = build_model(recipe, MELANOMA)
    set_trainable(model, backbone, "all")
    net = training_copy(model)
    with tempfile.TemporaryDirectory() as work:
        images = np.lib.format.open_memmap(f"{work}/images.npy", "w+", "uint8", (32, 512, 512, 3))
        images[:] = np.random.default_rng(0).integers(0, 256, (32, 1, 1, 3), "uint8")
        batches = make_batches(images, np.arange(32), np.arange(32) % 2, batch_size=batch)
        net.compile(_make_optimizer(recipe, recipe.stages[0], len(batches)), make_loss(Loss(), 2), auto_scale_loss=False)
        with MemoryPeak() as peak:
            seconds = timed(lambda: net.fit(batches, epochs=1, shuffle=False, verbose=0))
    print(peak.mb, seconds)

def predict(table, weights, work):
    "From JPEG files to probabilities of MobileNetV2."
    import keras, numpy as np
    from skin_nb.core import MemoryPeak
    from skin_nb.engine import Engine, make_forward
    from skin_nb.pictures import decode_images
    from skin_nb.recipe import Recipe
    from skin_nb.tasks import HAM10000
    from skin_nb.models import build_model
    part = table.head(1024); n = len(part)
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
        seconds = alternate_all([way("keras"), way("openvino"), way("openvino", "bfloat16")], runs=3)
    for name, s in zip(("keras float32", "openvino float32", "openvino bfloat16"), seconds):
        rate = show(name, n, s)
        print(f"  => goal 250 images/s: {'reached' if rate >= 250 else 'NOT reached'}")
    print(f"  peak of anonymous memory, all three in one process: {peak.mb:,.0f} MiB\n")

def growth(table, weights, work):
    "How decoding, features and training of a head grow with the number of pictures (MobileNetV2, one view, one epoch)."
    import numpy as np, pandas as pd
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
        if n > len(doubled): break
        part = split_by_lesion(doubled.head(n).reset_index(drop=True), 0)
        def whole():
            images = decode_images(part, 224, folder=f"{work}/growth{n}")
            fit_recipe(recipe, part, images, f"{work}/fit{n}", weights or "random", folder=f"{work}/features{n}", verbose=0)
        with MemoryPeak() as peak: s = timed(whole)
        print(f"  {n:>6,} pictures {s:>8.1f} s {peak.mb:>8,.0f} MiB", flush=True)
        shutil.rmtree(f"{work}/features{n}", ignore_errors=True)
    print()

def quality(table, weights, work):
    "Published training of ResNet50V2 (fresh augmentation in every epoch, the whole network in every step) and ours on 2,000 pictures, five epochs, three seeds."
    import numpy as np, pandas as pd
    from dataclasses import replace
    from skin_nb.batches import Views
    from skin_nb.evaluation import paired_difference
    from skin_nb.pictures import decode_images
    from skin_nb.predictions import predictions_table
    from skin_nb.preparation import split_by_lesion
    from skin_nb.recipe import Cache, Stage
    from skin_nb.recipes.resnet50v2 import AS_PUBLISHED
    from skin_nb.tasks import task_of, with_task
    lesions = np.random.default_rng(0).permutation(table.lesion_id.unique())
    order = table.lesion_id.map(pd.Series(range(len(lesions)), lesions)).sort_values(kind="stable").index[:2000]
    part = split_by_lesion(with_task(table.loc[order].reset_index(drop=True), task_of(table)), 0)
    images = decode_images(part, AS_PUBLISHED.size)
    brief = replace(AS_PUBLISHED, stages=(Stage(5, 1e-4),))
    augment = (("flip", "both"), ("rotation", 20 / 360), ("zoom", .2))
    ways = {"published": (replace(brief, views=Views(), augment=augment), False)}
    for views in 4, 1:
        for precision in "float32", "bfloat16":
            ways[f"{views} view(s), {precision}"] = (replace(brief, views=replace(brief.views, count=views), cache=Cache(precision=precision)), True)
    found = {name: [] for name in ways}
    seconds = {name: 0. for name in ways}
    for seed in range(3):
        for name, (recipe, cached) in ways.items():
            fit = fit_one(replace(recipe, seed=seed), part, images, f"{work}/{name}{seed}", weights, cached)
            seconds[name] += fit.seconds
            answers = predictions_table(part, fit.probabilities, fit.rows)
            found[name].append(answers.assign(image_id=answers.image_id + f"_{seed}"))
    pooled = {name: with_task(pd.concat(tables, ignore_index=True), task_of(table)) for name, tables in found.items()}
    print(f"balanced accuracy on {len(part)} pictures, lesion split, three seeds; seconds of all three, features computed each time")
    for name, answers in pooled.items():
        d = paired_difference(answers, pooled["published"])
        print(f"  {name:<24} {d['a']:.3f}  against the published way {d['difference']:+.3f} ({d['lo']:+.3f} to {d['hi']:+.3f})  {seconds[name]:8.0f} s", flush=True)
    print()

def fit_one(recipe, part, images, out, weights, cached):
    from skin_nb.training import fit_recipe
    return fit_recipe(recipe, part, images, out, weights, cached=cached, folder=f"{out}_features", verbose=0)

PARTS = dict(start=start, decode=decode, epochs=epochs, step=step, convnext=convnext, road=road, predict=predict, memory=memory)
LONG = dict(growth=growth, quality=quality)  # only when asked for

if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        sys.exit(one_step(sys.argv[2], int(sys.argv[3])))
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--data", default=os.environ.get("SKIN_NB_DATA") or "sample", help="sample, or a data folder")
    ap.add_argument("--weights", default=os.environ.get("SKIN_NB_WEIGHTS") or None, help="of the parts quality and growth: imagenet, file or folder; without: random ones")
    ap.add_argument("--only", default=",".join(PARTS), help="parts to run, of: " + ", ".join(PARTS | LONG))
    a = ap.parse_args()
    unknown = [name for name in a.only.split(",") if name not in PARTS | LONG]
    if unknown: ap.error(f"no part {', '.join(unknown)}; there are " + ", ".join(PARTS | LONG))
    from skin_nb.experiment import load_data
    table = load_data(a.data)
    print_machine()
    with tempfile.TemporaryDirectory() as work:
        for name in a.only.split(","): (PARTS | LONG)[name](table, a.weights, work)
