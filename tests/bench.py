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
    a(); b()
    pairs = [(timed(a), timed(b)) for _ in range(runs)]
    return [p[0] for p in pairs], [p[1] for p in pairs]

def show(what, n, seconds, unit="images/s"):
    rates = sorted(n / s for s in seconds)
    print(f"  {what:<58} {st.median(rates):>9,.1f} {unit}  ({rates[0]:,.1f} – {rates[-1]:,.1f}, {len(rates)} runs)", flush=True)
    return st.median(rates)

def verdict(what, ratio, bar): print(f"  => {what}: {ratio:.1f}× (goal {bar}×): {'reached' if ratio >= bar else 'NOT reached'}\n", flush=True)

def road(table, weights, work):
    "The published recipe, its way and ours: every row through the frozen network, or every image once per view."
    import keras, numpy as np, pandas as pd, tensorflow as tf
    from dataclasses import replace
    from skin_nb.pictures import decode_images
    from skin_nb.batches import Views, make_batches
    from skin_nb.graph import cut_model
    from skin_nb.prefix import _forward, image_source
    from skin_nb.recipes.resnet50v2 import AS_PUBLISHED
    from skin_nb.tasks import HAM10000
    from skin_nb.training import build_model, set_trainable
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
    def ours(): [_forward(prefix, source.read(at // 32 % 4, np.arange(at, min(at + 32, n))), 32, "float16") for at in range(0, n, 32)]
    print(f"published training of ResNet50V2 on HAM10000: {PUBLISHED_ROWS:,} rows × {EPOCHS} epochs; measured on {n} images")
    a, b = alternate(published, ours)
    old, new = show("published way: ImageDataGenerator + frozen network", n, a), show("ours: prefix, each image once per view", n, b)
    features = [np.random.default_rng(v).normal(size=(IMAGES, 2048)).astype("float16") for v in range(4)]
    many = np.resize(np.arange(TRAIN), 32 * 500)
    batches = make_batches(features, many, np.arange(IMAGES) % 7, batch_size=32, shuffle=True)
    suffix.compile(keras.optimizers.Adam(1e-4), loss, steps_per_execution=8)  # as fit_recipe does behind a frozen backbone
    fit = lambda: (setattr(batches, "epoch", batches.epoch + 1), suffix.fit(batches, epochs=1, shuffle=False, verbose=0))
    fit()
    head = show("ours: training behind the cut", len(many), [timed(fit) for _ in range(5)], "rows/s")
    cold = show("ours: decoding, once", n, [timed(lambda: (shutil.rmtree(f"{work}/cold", ignore_errors=True), decode_images(part, 224, folder=f"{work}/cold"))) for _ in range(5)])
    theirs = PUBLISHED_ROWS * EPOCHS / old
    brief = cut_model(build_model(replace(recipe, precision="mixed_bfloat16"), HAM10000)[0], "pool")[0]
    def half(): [_forward(brief, source.read(0, np.arange(at, min(at + 32, n))), 32, "float16") for at in range(0, n, 32)]
    half()
    bf16 = show("ours: the same prefix in mixed_bfloat16", n, [timed(half) for _ in range(5)])
    for views, bar, new, how in (4, 25, new, ""), (1, 80, new, ""), (1, 80, bf16, " in mixed_bfloat16"):
        passes = TRAIN * views + IMAGES - TRAIN  # validation and test images need one view
        mine = IMAGES / cold + passes / new + PUBLISHED_ROWS * EPOCHS / head
        print(f"  extrapolated to HAM10000, {views} view(s){how}: {theirs / 3600:.1f} h against {mine / 60:.1f} min ({passes:,} passes instead of {PUBLISHED_ROWS * EPOCHS:,})")
        verdict(f"{views} view(s){how}", theirs / mine, bar)

def step(table, weights, work):
    "One fine-tuning step with cached prefix and without."
    import keras, numpy as np
    from skin_nb.backbones import training_copy
    from skin_nb.graph import cut_model
    from skin_nb.prefix import find_cut
    from skin_nb.recipe import Recipe
    from skin_nb.tasks import HAM10000
    from skin_nb.training import build_model, set_trainable
    for net, size, unfreeze, bar in ("EfficientNetB1", 384, 40, 2.5), ("EfficientNetV2S", 224, .3, 2.):
        model, backbone = build_model(Recipe(net, net, size, ()), HAM10000)
        set_trainable(model, backbone, unfreeze)
        cut = find_cut(model)
        prefix, suffix = cut_model(model, cut.layer)
        x, y = np.random.default_rng(0).integers(0, 256, (16, size, size, 3)).astype("float32"), np.arange(16) % 7
        features = prefix.predict_on_batch(x)
        quick = training_copy(suffix)  # as fit_recipe does
        for m in model, suffix, quick: m.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy")
        print(f"fine-tuning {net} at {size} px, top {unfreeze}: cut at {cut.layer}, {cut.kb:.0f} kB an image, {cut.remaining:.0%} of the multiply-accumulates remain")
        a, b = alternate(lambda: model.train_on_batch(x, y), lambda: quick.train_on_batch(features, y), runs=7)
        suffix.train_on_batch(features, y)
        old, new = show("whole network in every step", 16, a), show("behind the cut", 16, b)
        show("behind the cut, with the library's depthwise gradients", 16, [timed(lambda: suffix.train_on_batch(features, y)) for _ in range(7)])
        verdict("step", new / old, bar)

def epochs(table, weights, work):
    "An epoch from the mapped image cache against one from arrays in memory."
    import keras, numpy as np
    from skin_nb.pictures import decode_images
    from skin_nb.batches import make_batches
    from skin_nb.recipe import Head, Recipe
    from skin_nb.tasks import HAM10000
    from skin_nb.training import build_model
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
    from skin_nb.training import _make_optimizer, build_model, make_loss, set_trainable
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

PARTS = dict(start=start, decode=decode, epochs=epochs, step=step, convnext=convnext, road=road, memory=memory)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        sys.exit(one_step(sys.argv[2], int(sys.argv[3])))
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--data", default=os.environ.get("SKIN_NB_DATA") or "sample", help="sample, or a data folder")
    ap.add_argument("--only", default=",".join(PARTS), help="parts to run, of: " + ", ".join(PARTS))
    a = ap.parse_args()
    from skin_nb.experiment import load_data
    table = load_data(a.data)
    with tempfile.TemporaryDirectory() as work:
        for name in a.only.split(","): PARTS[name](table, None, work)
