"Installs skin_nb from settings.ini, the one place that names version, requirements and commands."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

cfg = ConfigParser(delimiters=["="])
cfg.read("settings.ini", encoding="utf-8")
cfg = cfg["DEFAULT"]
lines = lambda key: [l.strip() for l in cfg.get(key, "").splitlines() if l.strip()]

setup(
    name=cfg["lib_name"], version=cfg["version"], description=cfg["description"], license="Apache-2.0",
    long_description=Path("README.md").read_text(encoding="utf-8"), long_description_content_type="text/markdown",
    packages=find_packages(include=["skin_nb", "skin_nb.*"]), python_requires=">=" + cfg["min_python"],
    package_data={"skin_nb": ["*.npz"]},
    install_requires=lines("requirements"), extras_require={name: lines(f"{name}_requirements") for name in ("dev", "jax", "openvino", "dask", "mlflow", "export", "hub", "demo", "browser", "challenge")},
    entry_points={"console_scripts": lines("console_scripts"), "nbdev": ["skin_nb=skin_nb._modidx:d"]},
)
