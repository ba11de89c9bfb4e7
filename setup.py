"Installs skin_nb from settings.ini, the one place that names version, requirements and commands."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = ("dev", "jax", "openvino", "dask", "mlflow", "export", "hub", "demo", "browser")
EXTRAS += ("challenge",)

parser = ConfigParser(delimiters=["="])
parser.read("settings.ini", encoding="utf-8")
settings = parser["DEFAULT"]

def lines(key):
    "The lines of a setting that has one entry a line; none if it isn't there."
    found = [line.strip() for line in settings.get(key, "").splitlines()]
    return [line for line in found if line]

setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    license="Apache-2.0",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    packages=find_packages(include=["skin_nb", "skin_nb.*"]),
    python_requires=">=" + settings["min_python"],
    package_data={"skin_nb": ["*.npz"]},
    install_requires=lines("requirements"),
    extras_require={name: lines(f"{name}_requirements") for name in EXTRAS},
    entry_points={
        "console_scripts": lines("console_scripts"),
        "nbdev": ["skin_nb=skin_nb._modidx:d"],
    },
)
