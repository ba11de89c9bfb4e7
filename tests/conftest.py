"What all tests share: where things are, a quiet TensorFlow, and a last line of counts."
import os
import shutil
import sys
import tempfile
from pathlib import Path
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# two workers share the cores; more threads only get in each other's way
for name in "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS":
    os.environ.setdefault(name, "1")
# what one JAX process compiled, the next one reads; the workers inherit it
COMPILED = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    COMPILED = tempfile.mkdtemp(prefix="skin_nb_jax_")
    os.environ |= dict(
        JAX_COMPILATION_CACHE_DIR=COMPILED,
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
        JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
    )
# the commands of this environment come first
os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
ROOT = Path(__file__).resolve().parent.parent

LONGEST = ["test_notebooks", "test_training", "test_tasks", "test_gradcam", "test_commands"]
LONGEST += ["test_runs"]

def place_of(item):
    "Where a test comes in the order: its file's place among the longest, or behind them."
    name = item.path.stem
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)

def pytest_collection_modifyitems(items):
    "What takes longest comes first, so that no worker is left alone with it at the end."
    items.sort(key=place_of)

@pytest.fixture(scope="session")
def root():
    return ROOT

@pytest.fixture(scope="session")
def processes():
    "Where processes are forked from."
    from apart import forking
    return forking()

@pytest.fixture(scope="session")
def real_data():
    "The folder with HAM10000 named by SKIN_NB_DATA."
    if not os.environ.get("SKIN_NB_DATA"):
        pytest.skip("SKIN_NB_DATA names no folder with HAM10000")
    return Path(os.environ["SKIN_NB_DATA"])

def pytest_unconfigure(config):
    "The last line: counts only, with every number there, zero or not."
    if COMPILED:
        shutil.rmtree(COMPILED, ignore_errors=True)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not reporter or hasattr(config, "workerinput"):
        return
    def count(*kinds):
        return sum(len(reporter.stats.get(k, [])) for k in kinds)
    failed = count("failed", "error")
    print(f"{count('passed')} passed, {failed} failed, {count('skipped')} skipped", flush=True)
