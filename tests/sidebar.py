"""The site's sidebar from the notebooks' names and titles: nbs/sidebar.yml, written by `make
readme`.

nbdev's own sidebar would be one flat list without numbers (`custom_sidebar` in settings.ini turns
it off).
"""
import json
import re
from pathlib import Path

import yaml

NBS = Path(__file__).resolve().parent.parent / "nbs"
SECTIONS = {  # the first number that belongs to it -> its name; up to the next section's
    0: "Foundations",
    1: "Data",
    14: "Library: training",
    22: "Library: evaluation and maps",
    25: "Library: commands",
    30: "Networks",
    40: "Melanoma",
    50: "Studies",
    90: "Results"}
FIRST = ("index", "start_here")  # pages without a number, before the chapters
LAST = ("glossary", "data_cards", "limits", "checklist")  # and after them
NUMBER = re.compile(r"(\d+)([a-z]?)_")


def title_of(path):
    "The title of a notebook, which its first cell begins with."
    first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    return "".join(first["source"]).splitlines()[0].removeprefix("# ")


def section_of(path):
    "The name of the section that a chapter's number belongs to."
    number = int(NUMBER.match(path.name)[1])
    return SECTIONS[max(first for first in SECTIONS if first <= number)]


def page(path):
    "A chapter's line: its number and title."
    number = "".join(NUMBER.match(path.name).groups())
    return dict(text=f"{number} {title_of(path)}", href=path.name)


def pages_without_number(stems):
    return [dict(text=title_of(NBS / f"{stem}.ipynb"), href=f"{stem}.ipynb") for stem in stems]


def sidebar_contents():
    "What the sidebar lists: chapters by section, in their order, and the pages around them."
    sections = {name: [] for name in SECTIONS.values()}
    for path in sorted(NBS.glob("[0-9]*.ipynb")):
        sections[section_of(path)].append(page(path))
    chapters = [dict(section=name, contents=pages) for name, pages in sections.items() if pages]
    about = dict(section="About", contents=pages_without_number(LAST))
    return [*pages_without_number(FIRST), *chapters, about]


def make_sidebar():
    "The text of nbs/sidebar.yml."
    described = dict(website=dict(sidebar=dict(contents=sidebar_contents())))
    return yaml.safe_dump(described, sort_keys=False, allow_unicode=True, width=200)
