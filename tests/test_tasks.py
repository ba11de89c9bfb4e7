"""Any set of classes, from two upwards, walks the whole road; a model is never scored on classes
that it doesn't know."""
from pathlib import Path

import pytest
from apart import run_program

HERE = Path(__file__).parent
EXPECTED = {
    "seven": "ham10000 akiec, bcc, bkl, df, mel, nv, vasc",
    "melanoma": "melanoma other, mel",
    "invented": "crater, delta, island",
}


ROADS = [
    ("melanoma", "tensorflow"),
    ("invented", "jax"),  # seven: the notebook of the sample's network
    *(
        pytest.param(*road, marks=pytest.mark.slow)
        for road in (
            ("seven", "tensorflow"),
            ("invented", "tensorflow"),
            ("seven", "jax"),
            ("melanoma", "jax"),
        )
    ),
]


@pytest.mark.parametrize("kind, backend", ROADS)
def test_the_whole_road(processes, tmp_path, kind, backend):
    done = run_program(
        processes, tmp_path / "log.txt", backend, HERE / "road_script.py", kind, tmp_path
    )
    assert done.returncode == 0, done.said[-4000:]
    assert EXPECTED[kind] in done.said
