"What is imported is declared, within bounds that keep known holes out, and pinned as tested."
import ast
import re
import sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
# first releases without a known hole; Keras: safe mode that could be bypassed (CVE-2026-1462)
SAFE = dict(keras="3.15.1", pillow="11.3", requests="2.32.4", urllib3="2.6.3", filelock="3.20.3")
# machines, a place to report to, a page, a backend, networks and an engine by choice, what runs
# exported files
OPTIONAL = {"distributed", "mlflow", "gradio", "jax", "keras_hub", "openvino", "ai_edge_litert",
            "onnxruntime"}


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared():
    "Requirements of settings.ini by name."
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    lines = settings["DEFAULT"]["requirements"].split("\n")
    found = [Requirement(line.strip()) for line in lines if line.strip()]
    return {plain(r.name): r for r in found}


def pinned():
    "Versions of constraints.txt by name."
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if "==" in line]
    return {plain(name): Version(version) for name, version in pairs}


def imported(path):
    "Names of the foreign modules that a file imports anywhere."
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    roots = {name.split(".")[0] for name in names}
    return roots - set(sys.stdlib_module_names) - {"skin_nb"}


def test_every_import_is_declared():
    known = declared()
    distributions = packages_distributions()
    missing = {}
    for path in sorted((ROOT / "skin_nb").glob("*.py")):
        for name in imported(path) - OPTIONAL:
            owners = [plain(owner) for owner in distributions.get(name, [name])]
            if not set(owners) & set(known):
                missing.setdefault(name, path.name)
    assert missing == {}


def test_requirements_have_bounds_and_fit_what_was_tested():
    versions = pinned()
    for name, requirement in declared().items():
        operators = {clause.operator for clause in requirement.specifier}
        assert operators == {">=", "<"}, requirement
        assert requirement.specifier.contains(versions[name]), (requirement, versions[name])


@pytest.mark.parametrize("name", SAFE)
def test_versions_with_known_holes_are_refused(name):
    least = next(c.version for c in declared()[name].specifier if c.operator == ">=")
    assert Version(least) >= Version(SAFE[name])


def test_setuptools_is_a_safe_one_that_python_3_12_can_use():
    "After CVE-2022-40897, CVE-2024-6345 and CVE-2025-47273."
    assert pinned()["setuptools"] >= Version("78.1.1")
