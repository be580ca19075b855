"""What the structure costs a reader and a call: `python tests/bench/structure.py [docs/structure.md]`.

Circles and floors of the imports, calls inside refar, lines of code in the wheel, and how long the first `check_function` takes.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Callable, Iterable
from graphlib import TopologicalSorter
from pathlib import Path

from pages import ROOT, publish

PACKAGES = {"refar": ROOT / "refar", "refar_export": ROOT / "export" / "refar_export"}


def modules() -> dict[str, Path]:
    """Every module that a wheel holds, by its dotted name."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = (package, *path.relative_to(folder).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: Iterable[str]) -> set[str]:
    """The modules of the project that a file imports when it is loaded or called, not those for type checkers alone."""
    names: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _without_type_checking(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in known else node.module for a in node.names}
    return names & set(known)


def _without_type_checking(tree: ast.AST) -> Iterable[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _without_type_checking(node)


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The groups of names that import each other, directly or not."""
    reach = {name: _reachable(name, arrows) for name in arrows}
    groups = {frozenset(other for other in reach[name] if name in reach.get(other, ())) for name in arrows if name in reach[name]}
    return sorted(sorted(group) for group in groups)


def _reachable(name: str, arrows: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(arrows.get(name, ()))
    while todo:
        each = todo.pop()
        if each not in seen:
            seen.add(each)
            todo += arrows.get(each, ())
    return seen


def floors(arrows: dict[str, set[str]]) -> dict[str, int]:
    """How many rooms lie below each, itself counted; arrows inside a circle of rooms are left out."""
    groups = {name: group[0] for group in circles(arrows) for name in group}
    rooms = {
        name: {t for t in targets if t != name and groups.get(t, t) != groups.get(name, name)} for name, targets in arrows.items()
    }
    found: dict[str, int] = {}
    for name in TopologicalSorter(rooms).static_order():
        found[name] = 1 + max((found[t] for t in rooms.get(name, ())), default=0)
    return found


def room(module: str, path: Path) -> str:
    """A folder of `refar` is a room, with the folders in it; a module loose in the root is one of its own."""
    package, _, rest = module.partition(".")
    return "refar_export" if package == "refar_export" else f"refar.{rest.split('.')[0]}" if rest else "refar"


def arrows() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """For each module, and for each room, those of the project that it imports."""
    known = modules()
    files = {name: imported(path, known) - {name} for name, path in known.items()}
    rooms: dict[str, set[str]] = {}
    for name, path in known.items():
        rooms.setdefault(room(name, path), set()).update(room(target, known[target]) for target in files[name])
    return files, {name: targets - {name} for name, targets in rooms.items()}


def code_lines(path: Path) -> int:
    """Lines with code on them: no blanks, no comments, no docstrings."""
    source = path.read_text(encoding="utf-8")
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        for statement in getattr(node, "body", []) if isinstance(getattr(node, "body", []), list) else []:
            if (
                isinstance(statement, ast.Expr)
                and isinstance(statement.value, ast.Constant)
                and isinstance(statement.value.value, str)
            ):
                lines -= set(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    return len(lines)


def calls(run: Callable[[], object]) -> dict[str, int]:
    """How often each function of the project is called."""
    found: dict[str, int] = {}
    inside = tuple(str(folder) for folder in PACKAGES.values())

    def count(frame: object, event: str, _: object) -> None:
        code = frame.f_code  # type: ignore[attr-defined]
        if event == "call" and code.co_filename.startswith(inside):
            name = f"{Path(code.co_filename).relative_to(ROOT)}:{code.co_name}"
            found[name] = found.get(name, 0) + 1

    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
    return found


def call_counts() -> dict[str, dict[str, int]]:
    """Calls inside refar for one token of `next`, and for an export, of a graph of five nodes that has run before."""
    import numpy as np

    import refar
    from refar import Builder, ops
    from refar_export import export

    g = Builder()
    h = g.relu(g.conv1d(g.one_hot(g.input(classes=4)), 8, kernel=2, strict=True))
    graph = g.build(g.conv1d(h, 4), ops.Categorical())
    params, x = refar.init(graph), np.array([1])
    _, state = refar.start(graph, params, batch=1)
    refar.next(graph, params, state, x)
    with tempfile.TemporaryDirectory() as folder:
        export(graph, params, f"{folder}/first")
        exported = calls(lambda: export(graph, params, f"{folder}/second"))
    return {"next": calls(lambda: refar.next(graph, params, state, x)), "export": exported}


FIRST_CHECK = """
import time
import numpy as np
from refar.testing import check_function
def f(x, w, b=None, *, dilation=1, groups=1, strict=False):
    (batch, _, length), (out, size, kernel) = x.shape, w.shape
    y = np.zeros((batch, out, length), x.dtype)
    for k in range(kernel):
        o = strict + (kernel - 1 - k) * dilation
        for g in range(groups):
            r = slice(g * out // groups, (g + 1) * out // groups)
            seen = x[:, g * size:(g + 1) * size, :max(length - o, 0)]
            y[:, r, min(o, length):] += np.einsum("oi,bit->bot", w[r, :, k], seen)
    return y if b is None else y + b[:, None]

begin = time.perf_counter()
check_function(f, "causal_conv1d")
print(time.perf_counter() - begin)
"""


def first_check(times: int = 5) -> float:
    """Seconds of the first `check_function(f, "causal_conv1d")` in a fresh process, after the import; the best of several."""
    home = "known.function" if "refar.testing.known.function" in modules() else "function"
    code = FIRST_CHECK.replace("MODULE", home)
    return min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(times)
    )


BEFORE = {
    "circles of modules; circles of rooms; floors of rooms": "1; 2; 10",
    "calls inside refar for one token of `next`, five nodes": "164",
    "calls inside refar for `export`, five nodes": "1 480",
    "lines of code in the wheel": "16 727",
    "first `check_function`, seconds": "0.30",
    "places to touch for a new operator at one position": "27 in 16 files",
    "for one that reads other positions; other pixels": "not counted",
}
"""The same, measured by this script at version 0.1.0 (225e3bc); places as counted by hand."""


def figures() -> dict[str, str]:
    """Every figure of the present code, by its name."""
    files, rooms = arrows()
    called = {what: sum(counted.values()) for what, counted in call_counts().items()}
    now = [
        f"{len(circles(files))}; {len(circles(rooms))}; {max(floors(rooms).values())}",
        f"{called['next']}",
        f"{called['export']}",
        f"{sum(map(code_lines, modules().values())):,}".replace(",", " "),
        f"{first_check():.2f}",
        *places(),
    ]
    return dict(zip(BEFORE, now, strict=True))


def places() -> tuple[str, str]:
    """How many functions and tables CONTRIBUTING lists, in how many files: for one position; for other positions and pixels."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| `([^`]+)`(.*?) \|", page, re.M)
    shared = [file for file, function in rows if "pointwise" not in function]
    further = re.findall(r"^\| `([^`]+\.py)` \| (.*) \| (.*) \|$", page, re.M)
    over_time = [file for file, cell, _ in further for _ in re.findall(r"`\w+`", cell)]
    of_images = [file for file, _, cell in further for _ in re.findall(r"`\w+`", cell)]
    return _counted([file for file, _ in rows]), f"{_counted(shared + over_time)}; {_counted(shared + of_images)}"


def _counted(files: list[str]) -> str:
    return f"{len(files)} in {len(set(files))} files"


def table(now: dict[str, str]) -> str:
    """A row for each figure."""
    lines = ["| | 0.1.0 | now |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {BEFORE[name]} | {figure} |" for name, figure in now.items())])


if __name__ == "__main__":
    publish("structure", table(figures()), sys.argv[1:])
