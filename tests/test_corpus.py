"A corpus of bad inputs: each is answered with file, row and remedy, and nothing else is touched."
import os
import warnings
from operator import attrgetter
import pytest
from bad_archives import ARCHIVES
from bad_arguments import ARGUMENTS
from bad_models import MODELS
from bad_pictures import PICTURES
from bad_siim import SIIM
from bad_tables import TABLES
from skin_nb.core import DataError

CORPUS = [*TABLES, *SIIM, *PICTURES, *ARCHIVES, *MODELS, *ARGUMENTS]


def snapshot(folder):
    "Every file below a folder with its bytes; pipes and links by what they are."
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            regular = os.path.isfile(path) and not os.path.islink(path) and os.access(path, os.R_OK)
            found[path] = open(path, "rb").read() if regular else os.lstat(path).st_mode
    return found


def answer(call):
    "What the call says: the text of a `DataError`, or what a command has printed."
    try:
        return call()
    except DataError as error:
        assert all(p.file and p.found and p.expected and p.fix for p in error.problems)
        return str(error)


def test_the_corpus_is_large_and_every_case_has_a_name_of_its_own():
    names = [case.id for case in CORPUS]
    assert len(names) >= 120 and len(set(names)) == len(names)
    assert all(name.startswith("bad") for name in names)


@pytest.mark.parametrize("case", CORPUS, ids=attrgetter("id"))
def test_bad_input_is_answered(case, tmp_path):
    call = case.make(tmp_path)
    before = snapshot(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = answer(call)
    assert isinstance(text, str) and text, "no error"
    for part in case.says:
        assert part.replace("{folder}", str(tmp_path)) in text, text
    now = snapshot(tmp_path)
    assert {path: now.get(path) for path in before} == before
