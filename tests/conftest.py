"What all tests share: where things are, a quiet TensorFlow, and a last line of counts."
import os, sys
from pathlib import Path
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]  # the commands of this environment
ROOT = Path(__file__).resolve().parent.parent

@pytest.fixture(scope="session")
def root(): return ROOT

@pytest.fixture(scope="session")
def real_data():
    "The folder with HAM10000 named by SKIN_NB_DATA."
    if not os.environ.get("SKIN_NB_DATA"): pytest.skip("SKIN_NB_DATA names no folder with HAM10000")
    return Path(os.environ["SKIN_NB_DATA"])

def pytest_unconfigure(config):
    "The last line: counts only, with every number there, zero or not."
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not reporter or hasattr(config, "workerinput"): return
    count = lambda *kinds: sum(len(reporter.stats.get(k, [])) for k in kinds)
    print(f"{count('passed')} passed, {count('failed', 'error')} failed, {count('skipped')} skipped", flush=True)
