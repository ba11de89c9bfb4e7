"""Run notebooks as Jupyter does, and say which of their stored outputs a run changes.

    python tests/run_all.py 21c 28_predict    # names, or their beginnings; all without

What is compared holds on any machine: which cells answer, in which forms, and what they say apart
from numbers. `--exact` compares every character and every pixel too; it finds what a rerun changes
on one machine. `--write` stores what came, cleaned, as Run All and nbdev_clean do.
"""
import argparse
import base64
import io
import os
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbdev.clean import nbdev_clean
from PIL import Image

NBS = Path(__file__).resolve().parent.parent / "nbs"
NUMBER = r"[-+−]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?"
BAR = r"[\r\b█━]|\d(?:it|img|step)/s|\d[mu]?s/step"
PLACE = r"/tmp/tmp\w{8}|/root/|/home/\w|/Users/\w"


def run_in_kernel(path, variables=None):
    "A notebook after Run All: in a kernel of its own, which starts in the notebook's folder."
    nb = nbformat.read(path, as_version=4)
    place = dict(metadata=dict(path=str(path.parent)))
    client = NotebookClient(nb, timeout=1800, kernel_name="python3", resources=place)
    client.execute(env=os.environ | (variables or {}))
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    return nb


def as_jupyterlab(text):
    """A stream as JupyterLab stores it: a backspace deletes, after a return the line is written
    over."""
    stored, at = [], 0
    for character in text:
        if character == "\b":
            if at and stored[at - 1] != "\n":
                at -= 1
                del stored[at]
        elif character == "\r":
            while at and stored[at - 1] != "\n":
                at -= 1
        else:
            if character == "\n":
                at = len(stored)
            stored[at:at + 1] = [character]
            at += 1
    return "".join(stored)


def joined(outputs):
    "Outputs with the pieces of a stream put together."
    found = []
    for output in outputs:
        is_more = found and output.output_type == found[-1].output_type == "stream"
        if is_more and output.name == found[-1].name:
            found[-1].text += output.text
        else:
            found.append(output)
    for output in found:
        if output.output_type == "stream":
            output.text = as_jupyterlab(output.text)
    return found


def answers(nb):
    "What the code cells show, as (number of the cell, form, content)."
    cells = [cell for cell in nb.cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells):
        for output in cell.outputs:
            if output.output_type == "stream":
                yield number, output.name, output.text
            for form, content in sorted(output.get("data", {}).items()):
                yield number, form, content


def words(content):
    "A text without its numbers, and without the spaces and dashes that line them up."
    text = re.sub(NUMBER, "0", content)
    return re.sub(r"[\s\-]+", " ", text).strip()


def pixels(content):
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    return np.asarray(picture.convert("RGB"))


def differs(form, stored, found, exact):
    "Whether two answers of one form differ."
    if form.startswith("image/"):
        return exact and not np.array_equal(pixels(stored), pixels(found))
    if exact:
        return stored.strip() != found.strip()
    return words(stored) != words(found)


def passing(nb):
    "What no cell may store: red blocks, bars, and folders of one machine."
    for number, form, content in answers(nb):
        if form == "stderr":
            yield f"cell {number}: a red block, {content[:200]!r}"
        if form.startswith("image/"):
            continue
        for name, pattern in {"a bar": BAR, "a folder of this machine": PLACE}.items():
            found = re.search(pattern, content)
            if found:
                yield f"cell {number}: {name}, {content[max(0, found.start() - 80):][:200]!r}"


def changes(stored, found, exact=False):
    "What a run changed, a line each."
    yield from passing(found)
    before, after = list(answers(stored)), list(answers(found))
    forms = [[answer[:2] for answer in side] for side in (before, after)]
    if forms[0] != forms[1]:
        odd = sorted(set(forms[0]) ^ set(forms[1]))
        yield f"other answers: cell and form {odd}"
        return
    for (number, form, was), (_, _, now) in zip(before, after):
        if differs(form, was, now, exact):
            yield f"cell {number}: another {form}, {was[:200]!r} was stored, {now[:200]!r} came"


def store(path, nb):
    "Keep a notebook's new outputs, without what belongs to one run alone."
    nbformat.write(nb, path)
    nbdev_clean(fname=str(path))


def check(path, asked):
    "Run a notebook; lines about what changed."
    ran = run_in_kernel(path)
    found = list(changes(nbformat.read(path, as_version=4), ran, asked.exact))
    if asked.write:
        store(path, ran)
    return found


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="notebooks, or how their names begin")
    parser.add_argument("--exact", action="store_true", help="compare numbers and pixels too")
    parser.add_argument("--write", action="store_true", help="store what came")
    asked = parser.parse_args(arguments)
    beginnings = tuple(asked.names or [""])
    paths = [path for path in sorted(NBS.glob("*.ipynb")) if path.stem.startswith(beginnings)]
    changed = 0
    for path in paths:
        found = check(path, asked)
        changed += bool(found)
        print(path.stem, *(found or ["as stored"]), sep="\n    ", flush=True)
    print(f"{len(paths)} notebooks, {changed} changed")
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main())
