"The measurement for graphics processors can be tried without one."
import re
from types import SimpleNamespace
import pandas as pd
import pytest
import gpu_bench


def test_another_network_stands_in(monkeypatch, capsys, tmp_path):
    "A layer in place of EfficientNetB0, which takes a minute to compile."
    import keras

    def small(options):
        image = keras.Input((options.size, options.size, 3))
        pooled = keras.layers.GlobalAveragePooling2D()(image)
        net = keras.Model(image, keras.layers.Dense(7, activation="softmax")(pooled))
        net.compile("adam", "sparse_categorical_crossentropy")
        return net

    options = gpu_bench.parse(["--size", "8", "--batch", "2", "--steps", "2"])
    monkeypatch.setattr(gpu_bench, "whole_network", small)
    monkeypatch.setattr("skin_nb.backbones.build_backbone",
                        lambda name, size: small(SimpleNamespace(size=size)))
    rows = pd.DataFrame(dict(recipe="b0", protocol="honest", seconds=[10., 20.]))
    monkeypatch.setattr("skin_nb.rows.collect_results", lambda run: rows)
    options.run = tmp_path
    gpu_bench.main(options)
    said = capsys.readouterr().out
    rates = [float(n.replace(",", "")) for n in re.findall(r"([\d,.]+) images/s", said)]
    assert len(rates) == 3 and min(rates) > 0 and 3454 in rates
    assert re.search(r"b0 honest +15 s a fold", said)


@pytest.mark.slow
def test_the_network_itself(capsys):
    gpu_bench.main(gpu_bench.parse(["--size", "32", "--batch", "2", "--steps", "2",
                                    "--precision", "float32"]))
    assert capsys.readouterr().out.count("images/s") == 3
