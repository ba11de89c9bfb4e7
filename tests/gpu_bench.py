"""EfficientNetB0 at 224 pixels on this machine's device: training, frozen part, waiting for
pictures.

    python tests/gpu_bench.py [--batch 256] [--steps 50] [--precision mixed_bfloat16] [--run DIR]

With --run, the seconds of each recipe in the folder of a run. Weights are random: they cost what
trained ones cost. `--size 32 --batch 2 --steps 2` tries the script itself on any machine.
"""
import argparse
import os
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PUBLISHED = 3454  # images/s of one A100: NVIDIA's published figure for training EfficientNet-B0


def draw_pictures(count, size, folder):
    "A mapped file of pictures, as a run reads them."
    import numpy as np
    path = os.path.join(folder, "pictures.npy")
    pictures = np.lib.format.open_memmap(path, "w+", "uint8", (count, size, size, 3))
    pictures[:] = np.random.default_rng(0).integers(0, 256, pictures.shape, "uint8")
    return pictures


def whole_network(options):
    "EfficientNetB0 with all of its layers training, compiled as a recipe compiles it."
    from skin_nb.backbones import training_copy
    from skin_nb.balancing import Loss
    from skin_nb.recipe import Recipe, Stage
    from skin_nb.tasks import HAM10000
    from skin_nb.models import build_model, make_loss, set_trainable
    recipe = Recipe("b0", "EfficientNetB0", options.size, (Stage(1, 1e-3, unfreeze="all"),),
                    precision=options.precision)
    model, backbone = build_model(recipe, HAM10000)
    set_trainable(model, backbone, "all", scratch=True)
    net = training_copy(model, recipe.precision)
    net.compile("adam", make_loss(Loss(), len(HAM10000.classes)), auto_scale_loss=False)
    return net


def batches_from_disk(options, folder):
    import numpy as np
    from skin_nb.batches import make_batches
    count = options.steps * options.batch
    pictures = draw_pictures(count, options.size, folder)
    return make_batches(pictures, np.arange(count), np.arange(count) % 7, batch_size=options.batch)


def one_batch_again(batches):
    "A data set that reads nothing: the first batch, as often as there are batches."
    import keras
    first = batches[0]

    class Again(keras.utils.PyDataset):
        def __len__(self):
            return len(batches)

        def __getitem__(self, step):
            return first

    return Again()


def seconds_of_fit(net, data, runs=3):
    "The median of some epochs, after one that compiles."
    found = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        net.fit(data, epochs=1, shuffle=False, verbose=0)
        found.append(time.perf_counter() - begun)
    return statistics.median(found[1:])


def measure_training(options):
    "Pictures a second that are read from disk, and the share of time the device waits for them."
    net = whole_network(options)
    with tempfile.TemporaryDirectory() as folder:
        batches = batches_from_disk(options, folder)
        read = seconds_of_fit(net, batches)
        ready = seconds_of_fit(net, one_batch_again(batches))
    return options.steps * options.batch / read, max(0., 1 - ready / read)


def measure_prefix(options):
    "Pictures a second through the frozen network, as its features are computed."
    import numpy as np
    from skin_nb.backbones import build_backbone
    from skin_nb.engine import make_forward
    forward, _ = make_forward(build_backbone("EfficientNetB0", options.size), batch=options.batch)
    pictures = np.zeros((options.batch, options.size, options.size, 3), "uint8")
    forward(pictures)
    begun = time.perf_counter()
    for _ in range(options.steps):
        forward(pictures)
    return options.steps * options.batch / (time.perf_counter() - begun)


def show_recipes(run):
    "Seconds of each recipe in a run folder, the mean of its folds."
    from skin_nb.rows import collect_results
    rows = collect_results(run)
    for (recipe, protocol), seconds in rows.groupby(["recipe", "protocol"]).seconds:
        print(f"  {recipe + ' ' + protocol:<40} {seconds.mean():>9,.0f} s a fold")


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--precision", default="mixed_bfloat16")
    parser.add_argument("--run", help="folder of a run, to list the seconds of its recipes")
    return parser.parse_args(arguments)


def main(options):
    import keras
    from skin_nb.backbones import on_cpu
    device = "a CPU" if on_cpu() else ", ".join(keras.distribution.list_devices())
    print(f"EfficientNetB0 at {options.size} px, batches of {options.batch}, {options.precision}, "
          f"Keras {keras.__version__} with {keras.backend.backend()}, on {device}", flush=True)
    rate, waits = measure_training(options)
    print(f"  {'training, all layers':<40} {rate:>9,.1f} images/s", flush=True)
    print(f"  {'published for one A100 by NVIDIA':<40} {PUBLISHED:>9,} images/s")
    print(f"  {'waiting for pictures':<40} {waits:>9.0%} of the time")
    prefix = measure_prefix(options)
    print(f"  {'frozen network, float32':<40} {prefix:>9,.1f} images/s", flush=True)
    if options.run:
        show_recipes(options.run)


if __name__ == "__main__":
    main(parse())
