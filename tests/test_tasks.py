"Any set of classes, from two upwards, walks the whole road; a model is never scored on classes that it doesn't know."
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXPECTED = {"seven": "ham10000 akiec, bcc, bkl, df, mel, nv, vasc", "melanoma": "melanoma other, mel",
            "invented": "crater, delta, island"}


ROADS = [("seven", "tensorflow"), ("melanoma", "tensorflow"), ("invented", "jax"),
         *(pytest.param(*road, marks=pytest.mark.slow)
           for road in (("invented", "tensorflow"), ("seven", "jax"), ("melanoma", "jax")))]


@pytest.mark.parametrize("kind, backend", ROADS)
def test_the_whole_road(tmp_path, kind, backend):
    env = dict(os.environ, KERAS_BACKEND=backend, TQDM_DISABLE="1")
    command = [sys.executable, str(HERE / "road_script.py"), kind, str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert EXPECTED[kind] in done.stdout.splitlines()[-1]
