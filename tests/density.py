"""How dense the exported code is: the measures of well-kept notebook code bases, over this one.

Run as a program it prints a row a notebook and one for all; the structure test imports `measure`.
"""
import ast
import io
import json
import re
import statistics
import sys
import tokenize
from pathlib import Path

NBS = Path(__file__).resolve().parent.parent / "nbs"
WIDTH = 100  # characters; what is longer is cut off on the site
EXPORTED = re.compile(r"^#\|\s*exports?\b", re.M)


def exported_sources(path):
    "The exported cells of a notebook, without nbdev's directives."
    cells = json.loads(path.read_text())["cells"]
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    return [re.sub(r"^#\|.*\n?", "", s, flags=re.M) for s in sources if EXPORTED.search(s)]


def tokens_by_line(source):
    "How many tokens stand on each line that has any; comments don't count."
    count = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.string.strip() and token.type != tokenize.COMMENT:
            count[token.start[0]] = count.get(token.start[0], 0) + 1
    return list(count.values())


def body_length(function, source):
    "Characters of a function's statements, without docstring and indentation."
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    lines = source.splitlines()
    own = [lines[n - 1].strip() for s in body for n in range(s.lineno, s.end_lineno + 1)]
    return sum(map(len, own))


def is_parallel(node):
    "Whether an assignment binds several names to several values at once."
    return (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)
            and isinstance(node.value, ast.Tuple))


def measure(paths):
    "The measures over the exported code of some notebooks, as a dict."
    lines, tokens, bodies, longest = [], [], [], []
    parallel = lambdas = semicolons = 0
    for path in paths:
        for source in exported_sources(path):
            lines += [line for line in source.splitlines() if line.strip()]
            tokens += tokens_by_line(source)
            semicolons += sum(t.string == ";" for t in
                              tokenize.generate_tokens(io.StringIO(source).readline))
            for node in ast.walk(ast.parse(source)):
                parallel += is_parallel(node)
                lambdas += isinstance(node, ast.Lambda)
                if isinstance(node, ast.FunctionDef):
                    bodies.append(body_length(node, source))
                    longest.append(node.end_lineno - node.lineno + 1)
    if not lines:
        return {}
    per_thousand = 1000 / len(lines)
    return dict(
        lines=len(lines),
        body=statistics.median(bodies) if bodies else 0,
        tokens=sorted(tokens)[int(.9 * len(tokens))],
        wide=sum(len(line) > WIDTH for line in lines),
        parallel=parallel * per_thousand,
        lambdas=lambdas * per_thousand,
        semicolons=semicolons * per_thousand,
        longest=max(longest, default=0))


def main(names):
    "Print the measures of the notebooks whose names begin like one of these, and of all together."
    chosen = [p for p in sorted(NBS.glob("*.ipynb"))
              if not names or any(p.stem.startswith(n) for n in names)]
    print(f"{'notebook':28}{'lines':>6}{'body':>7}{'tokens':>7}{'wide':>6}"
          f"{'parallel':>9}{'lambdas':>8}{'semicolons':>11}{'longest':>8}")
    for name, paths in [*((p.stem, [p]) for p in chosen), ("all", chosen)]:
        m = measure(paths)
        if m:
            print(f"{name:28}{m['lines']:6}{m['body']:7.0f}{m['tokens']:7}{m['wide']:6}"
                  f"{m['parallel']:9.1f}{m['lambdas']:8.1f}{m['semicolons']:11.1f}{m['longest']:8}")


if __name__ == "__main__":
    main(sys.argv[1:])
