"""Programs that tests run in a process of their own, forked from one that has imported what most of
them import.

TensorFlow alone takes longer to import than most of them to run.
"""
import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

IMPORTED = ["skin_nb.core", "nbdev.test", "keras", "matplotlib.pyplot", "pandas", "scipy.stats",
            "sklearn.linear_model", "imblearn.over_sampling", "pandera.pandas", "nbformat",
            "skin_nb.report"]
ON_CPU = dict(JAX_PLATFORMS="cpu", CUDA_VISIBLE_DEVICES="")


def forking():
    "Where processes are forked from: one that has imported much and computed nothing."
    if sys.platform != "linux":  # elsewhere a fork may not call the system's own libraries
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def speak_into(log):
    "What a forked process says goes to a file, and no progress bar."
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ["TQDM_DISABLE"] = "1"


def be_program(log, script, arguments):
    "The work of a forked process: a program and its arguments."
    speak_into(log)
    os.environ |= ON_CPU
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(str(script), run_name="__main__")


def run_program(processes, log, backend, script, *arguments):
    "Run a program on a back end: its exit code, and all that it said."
    arguments = [str(a) for a in arguments]
    if backend == os.environ.get("KERAS_BACKEND", "tensorflow"):  # what was imported is right
        process = processes.Process(target=be_program, args=(log, script, arguments))
        process.start()
        process.join()
        return SimpleNamespace(returncode=process.exitcode, said=log.read_text())
    env = dict(os.environ, KERAS_BACKEND=backend, TQDM_DISABLE="1", **ON_CPU)
    done = subprocess.run([sys.executable, str(script), *arguments], env=env, capture_output=True,
                          text=True)
    return SimpleNamespace(returncode=done.returncode, said=done.stdout + done.stderr)
