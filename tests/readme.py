"""Run nbs/index.ipynb, write README.md from it, and the site's sidebar: `make readme`.
(nbdev_readme would need Quarto; this needs nbconvert.)"""
import re
import subprocess
import sys
from pathlib import Path
from sidebar import make_sidebar

ROOT = Path(__file__).resolve().parent.parent

PICTURE = "overview.jpeg"  # under nbs/, for README.md alone: the site has it in a cell

def make_readme():
    """The text of README.md and the bytes of its picture: `#| hide` cells are left out, of
    `#| echo: false` cells only the output is kept, links start at the root."""
    import nbformat
    from nbconvert import MarkdownExporter
    nb = nbformat.read(ROOT / "nbs" / "index.ipynb", 4)
    nb.cells = [c for c in nb.cells if not c.source.startswith("#| hide")]
    for c in nb.cells:
        if c.source.startswith("#| echo: false"):
            c.metadata["transient"] = {"remove_source": True}
    text, resources = MarkdownExporter().from_notebook_node(nb)
    (name, picture), = resources["outputs"].items()
    text = text.replace(f"![jpeg]({name})", f"![{picture_alt(nb)}]({PICTURE})")
    text = re.sub(r"\]\((?!https?:|#|mailto:|\.\./)([^)]+)\)", r"](nbs/\1)", text).replace(
        "](../", "]("
    )
    return re.sub(r"\n\s*\n", "\n\n", text).strip() + "\n", picture

def picture_alt(nb):
    """What the picture shows, from the cell that draws it."""
    alts = [re.search(r'^#\| fig-alt: "(.+)"$', c.source, re.M) for c in nb.cells]
    return next(alt[1] for alt in alts if alt)

if __name__ == "__main__":
    # its tables, from the notebooks and results of now
    subprocess.run(
        ["exec_nb", "index.ipynb", "--dest", "index.ipynb", "--exc_stop"],
        cwd=ROOT / "nbs",
        check=True,
    )
    subprocess.run(["nbdev_clean", "--fname", "nbs/index.ipynb"], cwd=ROOT, check=True)
    text, picture = make_readme()
    (ROOT / "README.md").write_text(text, encoding="utf-8")
    (ROOT / "nbs" / PICTURE).write_bytes(picture)
    (ROOT / "nbs" / "sidebar.yml").write_text(make_sidebar(), encoding="utf-8")
    print(f"README.md, nbs/{PICTURE} and nbs/sidebar.yml written", file=sys.stderr)
