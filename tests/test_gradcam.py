"Grad-CAM says the same on both back ends, from one saved model."
import importlib.util, os, subprocess, sys
import numpy as np, pytest

COMMON = "import sys, keras, numpy as np; from keras import layers; folder = sys.argv[1]\n"

MAKE = COMMON + """
def build(name, image, maps, meta):
    x = layers.GlobalAveragePooling2D()(maps)
    inputs = dict(image=image, metadata=meta) if meta is not None else image
    if meta is not None: x = layers.Concatenate()([x, layers.Dense(8, activation="relu")(meta)])
    x = layers.Dense(16, activation="relu")(x)
    model = keras.Model(inputs, layers.Softmax(name="probabilities")(layers.Dense(7, name="logits")(x)))
    model.save(f"{folder}/{name}.keras")

keras.utils.set_random_seed(0)
image = keras.Input((48, 48, 3), name="image")
a = layers.Conv2D(8, 3, strides=2, activation="relu", name="a")(layers.Rescaling(1 / 127.5, -1)(image))
b = layers.Conv2D(8, 3, padding="same", activation="relu", name="b")(a)
build("residual", image, layers.Add(name="sum")([a, layers.Dropout(.3)(b)]), keras.Input((5,), name="metadata"))
image = keras.Input((64, 64, 3), name="image")
net = keras.applications.MobileNetV2(include_top=False, weights=None, input_tensor=layers.Rescaling(1 / 127.5, -1)(image))
build("mobilenet", image, net.output, None)
rng = np.random.default_rng(0)
np.savez(f"{folder}/in.npz", small=rng.integers(0, 256, (5, 48, 48, 3), dtype="uint8"), large=rng.integers(0, 256, (5, 64, 64, 3), dtype="uint8"),
         facts=rng.normal(size=(5, 5)).astype("float32"))
"""

MAPS = COMMON + """
import warnings; warnings.simplefilter("ignore")
from skin_nb.gradcam import grad_cam
x = np.load(f"{folder}/in.npz")
load = lambda name: keras.models.load_model(f"{folder}/{name}.keras", compile=False)
residual, mobilenet = load("residual"), load("mobilenet")
out = {f"residual_{layer}_{c}": grad_cam(residual, x["small"], layer, c, batch=2, metadata=x["facts"]) for layer in (None, "a", "b") for c in (None, 3)}
out |= {f"mobilenet_{layer}": grad_cam(mobilenet, x["large"], layer, batch=2) for layer in (None, "block_3_expand_relu")}
np.savez(f"{folder}/{keras.backend.backend()}.npz", **out, tensorflow="tensorflow" in sys.modules)
"""

def in_backend(backend, code, folder):
    env = dict(os.environ, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3", JAX_PLATFORMS="cpu", CUDA_VISIBLE_DEVICES="")
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]

@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax (extra dev)")
def test_maps_agree_between_back_ends(tmp_path):
    in_backend("tensorflow", MAKE + MAPS, tmp_path)
    in_backend("jax", MAPS, tmp_path)
    tf, jax = (np.load(tmp_path / f"{b}.npz") for b in ("tensorflow", "jax"))
    names = [k for k in tf.files if k != "tensorflow"]
    assert len(names) == 8 and sum(tf[k].max() > 0 for k in names) >= 7  # the maps are not all empty
    for k in names: np.testing.assert_allclose(jax[k], tf[k], atol=1e-5, err_msg=k)
    assert not jax["tensorflow"]  # JAX doesn't need TensorFlow
