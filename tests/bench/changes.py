"""Small wrong changes of a file of Python: another comparison, sign or constant, a condition turned round, arguments swapped,
a slice, keyword or statement left out, max for min, zeros for ones. Used by mutation.py.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OTHER: dict[type[ast.AST], list[type[ast.AST]]] = {
    ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.GtE], ast.Gt: [ast.GtE, ast.Lt], ast.GtE: [ast.Gt, ast.LtE],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn], ast.NotIn: [ast.In],
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult], ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.FloorDiv], ast.Pow: [ast.Mult], ast.RShift: [ast.LShift], ast.BitAnd: [ast.BitOr],
    ast.And: [ast.Or], ast.Or: [ast.And],
}  # fmt: skip
PAIRS = ["min max", "minimum maximum", "argmin argmax", "any all", "zeros ones", "zeros_like ones_like", "floor ceil"]
RIVAL = {a: b for pair in map(str.split, PAIRS) for a, b in (pair, pair[::-1])}
LEFT_OUT = {"abs", "sqrt", "exp", "log", "tanh", "sorted", "reversed"}
KEPT = {"strict", "copy"}  # zip's, which guards as an assertion does, and astype's, which saves time
SYMMETRIC = {
    "min", "max", "minimum", "maximum", "multiply", "logaddexp", "hypot", "swapaxes", "isinstance", "result_type",
    "broadcast_shapes", "gamma",
}  # fmt: skip
"""Functions whose arguments may be swapped; γ_m(u) is of m·u."""


@dataclass(frozen=True)
class Mutant:
    """One change: the new source of a file, the change in words, and the lines of which one must run for it to matter."""

    file: str
    line: int
    was: str
    becomes: str
    source: str
    lines: range

    def __str__(self) -> str:
        return f"{self.file}:{self.line}\n    {self.was}\n    {self.becomes}"


def mutants(path: Path) -> list[Mutant]:
    """All of one file. Annotations, patterns, texts, messages and assertions stay as they are."""
    source = path.read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node, text, lines in _changes(ast.parse(source), range(0), set()):
        a, b = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        new = source[:a] + text.encode() + source[b:]
        head, tail = source[starts[node.lineno - 1] : a], source[b : starts[node.end_lineno]]
        if isinstance(node, ast.expr) and text and ast.dump(ast.parse(text, mode="eval").body) == ast.dump(node):
            continue  # the same two arguments swapped
        was, becomes = (" ".join((head + part + tail).decode().split()) for part in (source[a:b], text.encode()))
        try:
            compile(new, path, "exec")
        except SyntaxError:
            continue
        found.append(Mutant(f"{path.parent.name}/{path.name}", node.lineno, was, becomes, new.decode(), lines))
    return found


def _changes(node: ast.AST, lines: range, known: set[str]) -> Iterator[tuple[Any, str, range]]:
    """What is replaced, by which text, and the lines that run it; `known` are the names that an earlier statement set."""
    match node:
        case ast.Expr(ast.Call(ast.Name("assert_never"))):
            return
        case ast.JoinedStr() | ast.Assert() | ast.pattern() | ast.Import() | ast.ImportFrom() | ast.alias():
            return
        case ast.Module() | ast.ClassDef():
            known = set()
            for child in node.body:
                child.outside = True  # of a function: no test runs it, the import does
        case ast.FunctionDef():
            known = {arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)}
    if isinstance(node, ast.stmt):
        body = [child for name in ("body", "cases") for child in getattr(node, name, [])]
        first = min((getattr(c, "lineno", 0) or c.pattern.lineno for c in body), default=node.end_lineno + 1)
        lines = range(node.lineno, max(first, node.lineno + 1))
        if hasattr(node, "outside"):
            lines = range(node.lineno, node.end_lineno + 1) if isinstance(node, ast.FunctionDef) else range(0)
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
        stored = [part for target in targets for part in ast.walk(target)]
        names = {part.id for part in stored if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
        told = isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
        if told or isinstance(node, ast.Raise) or (targets and (not names or names & known)):
            yield node, "pass", lines
        known |= names
        if isinstance(node, ast.Raise):
            return
    if isinstance(node, ast.Subscript):
        for index in node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]:
            if isinstance(index, ast.Constant) and index.value == 0:
                index.first = True  # of a sequence of one the last is the first
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "reshape":
        for minus in [arg for arg in node.args if isinstance(arg, ast.UnaryOp) and isinstance(arg.operand, ast.Constant)]:
            minus.operand.any = True  # every length below 0 asks for the same
    if isinstance(node, ast.expr):
        yield from ((node, text, lines) for text in _expressions(node))
    if isinstance(node, ast.Slice):
        yield from ((end, "", lines) for end in (node.lower, node.upper) if end is not None)
    conditions = [node.test] if isinstance(node, ast.If | ast.IfExp | ast.While) else getattr(node, "ifs", [])
    yield from ((test, f"(not ({ast.unparse(test)}))", lines) for test in conditions)
    if isinstance(node, ast.AugAssign):
        changed = copy.copy(node)
        for other in OTHER.get(type(node.op), []):
            changed.op = other()
            yield node, ast.unparse(changed), lines
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list") or (isinstance(node, ast.keyword) and node.arg in KEPT):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _changes(child, lines, known)


def _expressions(node: ast.expr) -> Iterator[str]:
    def changed(**fields: Any) -> str:
        other = copy.copy(node)
        for name, value in fields.items():
            setattr(other, name, value)
        return f"({ast.unparse(other)})"

    match node:
        case ast.Constant(value=bool()):
            yield str(not node.value)
        case ast.Constant(value=int()):
            if not hasattr(node, "any"):
                yield f"({node.value + 1})"
            if not hasattr(node, "first"):
                yield f"({node.value - 1})"
        case ast.Constant(value=float()):
            yield f"({node.value + 1})"
        case ast.Compare():
            for n, op in enumerate(node.ops):
                yield from (changed(ops=[*node.ops[:n], other(), *node.ops[n + 1 :]]) for other in OTHER[type(op)])
        case ast.BinOp() | ast.BoolOp():
            yield from (changed(op=other()) for other in OTHER.get(type(node.op), []))
        case ast.UnaryOp():
            yield f"({ast.unparse(node.operand)})"
        case ast.Call():
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for n in range(len(node.args) - 1 if name not in SYMMETRIC else 0):
                yield changed(args=[*node.args[:n], node.args[n + 1], node.args[n], *node.args[n + 2 :]])
            for n, keyword in enumerate(node.keywords):
                if keyword.arg is not None and keyword.arg not in KEPT:
                    yield changed(keywords=node.keywords[:n] + node.keywords[n + 1 :])
            if name in RIVAL:
                func = copy.copy(node.func)
                setattr(func, "attr" if isinstance(func, ast.Attribute) else "id", RIVAL[name])
                yield changed(func=func)
            if name in LEFT_OUT and len(node.args) == 1:
                yield f"({ast.unparse(node.args[0])})"
