"Grad-CAM says the same on both back ends, from one saved model, and leaves that model as it was."
import importlib.util
import numpy as np
import pytest
from apart import run_program

COMMON = """
import sys
import warnings
import keras
import numpy as np
from keras import layers

folder = sys.argv[1]
"""

MAKE = COMMON + """
def finish(name, inputs, x, units=7):
    logits = layers.Dense(units, name="logits")(layers.Dense(16, activation="relu")(x))
    end = layers.Softmax() if units > 1 else layers.Activation("sigmoid")
    keras.Model(inputs, end(logits)).save(f"{folder}/{name}.keras")

def residual_maps(image):
    scaled = layers.Rescaling(1 / 127.5, -1)(image)
    a = layers.Conv2D(8, 3, strides=2, activation="relu", name="a")(scaled)
    b = layers.Conv2D(8, 3, padding="same", activation="relu", name="b")(a)
    return layers.GlobalAveragePooling2D()(layers.Add(name="sum")([a, layers.Dropout(.3)(b)]))

keras.utils.set_random_seed(0)
image = keras.Input((48, 48, 3), name="image")
facts = keras.Input((5,), name="metadata")
joined = layers.Concatenate()([residual_maps(image), layers.Dense(8, activation="relu")(facts)])
finish("residual", dict(image=image, metadata=facts), joined)

image = keras.Input((48, 48, 3), name="image")
facts = keras.Input((5,), name="metadata")
joined = layers.Concatenate()([residual_maps(image), facts])
finish("sigmoid", dict(image=image, metadata=facts), joined, 1)

inner = keras.Input((48, 48, 3))
trunk = keras.Model(inner, residual_maps(inner), name="trunk")
nested = keras.Sequential([keras.Input((48, 48, 3)), trunk, layers.Dense(3, activation="softmax")])
nested.save(f"{folder}/nested.keras")

from skin_nb.dinov2 import Transformer, vision_transformer
image = keras.Input((56, 56, 3), name="image")
shape = Transformer(width=32, blocks=2, heads=2)
maps = vision_transformer(shape, layers.Rescaling(1 / 127.5, -1)(image))
finish("tokens", image, layers.GlobalAveragePooling2D()(maps))

rng = np.random.default_rng(0)
small, large = (rng.integers(0, 256, (5, side, side, 3), dtype="uint8") for side in (48, 64))
facts = rng.normal(size=(5, 5)).astype("float32")
np.savez(f"{folder}/in.npz", small=small, large=large, facts=facts)
"""

MAPS = COMMON + """
from skin_nb.gradcam import METHODS, grad_cam

def load(name):
    return keras.models.load_model(f"{folder}/{name}.keras", compile=False)

warnings.simplefilter("ignore")  # some maps of random weights are empty
x = np.load(f"{folder}/in.npz")
models = {name: load(name) for name in ("residual", "sigmoid")}
out = {}
for name in ("residual", "sigmoid"):
    for layer in (None, "a", "b"):
        for c in (None, 0, 1):
            maps = grad_cam(models[name], x["small"], layer, c, batch=2, metadata=x["facts"])
            out[f"{name}_{layer}_{c}"] = maps
nested = load("nested")
for method in METHODS:
    out[f"nested_{method}"] = grad_cam(nested, x["small"], "a", batch=5, method=method)
tokens = load("tokens")
out["tokens_patches"] = grad_cam(tokens, x["large"][:, :56, :56], "patches", batch=5)
out["tokens_answers"] = tokens.predict(x["large"][:, :56, :56], verbose=0)
np.savez(f"{folder}/{keras.backend.backend()}.npz", **out, tensorflow="tensorflow" in sys.modules)
"""

SAVE = """
for name in ("residual", "sigmoid"):
    models[name].save(f"{folder}/again.keras")
    both = models[name], load("again")
    answers = [m.predict([x["small"], x["facts"]], verbose=0) for m in both]
    np.testing.assert_allclose(*answers, atol=1e-6)
"""


@pytest.fixture
def in_backend(processes, tmp_path):
    "`in_backend(backend, code)` runs a program in a process of its own."
    def in_backend(backend, code):
        script = tmp_path / f"on_{backend}.py"
        script.write_text(code)
        done = run_program(processes, tmp_path / f"{backend}.txt", backend, script, tmp_path)
        assert done.returncode == 0, done.said[-3000:]
    return in_backend


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax (extra dev)")
def test_maps_agree_between_back_ends(in_backend, tmp_path):
    in_backend("tensorflow", MAKE + MAPS + SAVE)
    in_backend("jax", MAPS)
    tf, jax = (np.load(tmp_path / f"{b}.npz") for b in ("tensorflow", "jax"))
    names = [k for k in tf.files if k != "tensorflow"]
    filled = [k for k in names if tf[k].max() > 0]
    assert len(names) == 24 and len(filled) >= 18  # the maps are not all empty
    for k in names:
        np.testing.assert_allclose(jax[k], tf[k], atol=1e-5, err_msg=k)
    assert not jax["tensorflow"]  # JAX doesn't need TensorFlow
    classes = [tf[f"sigmoid_b_{c}"] for c in (0, 1)]
    # a single unit explains each of its two classes
    assert np.abs(classes[0] - classes[1]).max() > .1
