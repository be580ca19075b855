"""What `refar inspect` says of a graph: every figure follows from the graph alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from refar import ops
from refar.analysis.facts import facts
from refar.analysis.masks import mask_oihw
from refar.analysis.windows import kernel_steps
from refar.graph.graph import Graph, Node


@dataclass(frozen=True)
class LayerRow:
    """A row of the table: one node. `channels` has a star where the value does not change over time.

    `masked`: the weights without effect. `cost` counts multiply-adds for each position, or once if the value is constant;
    `level` those of them in a pixel's own row. `clock`: when a node over an image has a value, see `analysis.raster.RasterPlan`.
    """

    name: str
    operator: str
    inputs: str
    channels: str
    weights: int
    biases: int
    masked: int
    cost: int
    level: int
    timed: bool
    clock: str


def layers(graph: Graph) -> list[LayerRow]:
    """Every node in the order of evaluation."""
    found = facts(graph)
    clock = facts(graph).raster.clock if found.grid is not None and facts(graph).looks_ahead is None else {}
    rows = []
    for node in graph.nodes:
        kind = found.types[node.name]
        weight = found.parameters.get(f"{node.name}.weight", ())
        bias = found.parameters.get(f"{node.name}.bias", ())
        cost, level = _products(node.op, weight)
        rows.append(
            LayerRow(
                node.name,
                operator(node),
                _inputs(node),
                f"{kind.size}{'' if kind.timed else '*'}",
                math.prod(weight) if weight else 0,
                math.prod(bias) if bias else 0,
                math.prod(weight) - cost if isinstance(node.op, ops.Conv2d) else 0,
                cost,
                level,
                kind.timed,
                clock.get(node.name, ""),
            )
        )
    return rows


def _products(op: ops.AnyOp, weight: tuple[int, ...]) -> tuple[int, int]:
    """Multiply-adds at one position, and those of them that look at its own row. What is masked is none."""
    if isinstance(op, ops.Input | ops.PointwiseOp):
        return 0, 0
    match op:
        case ops.Conv1d():
            return math.prod(weight), math.prod(weight)
        case ops.Conv2d():
            visible = mask_oihw(op, weight)
            level = [(u, v) for u, row in enumerate(kernel_steps(op)) for v, (up, _) in enumerate(row) if up == 0]
            return int(visible.sum()), sum(int(visible[:, :, u, v].sum()) for u, v in level)
        case ops.Shift() | ops.Shift2d() | ops.Pool1d():
            return 0, 0
        case _:
            assert_never(op)


def _inputs(node: Node) -> str:
    """The names, relative to the node's own scope ('.conv'), and the middle of a long list left out."""
    scope = node.name.rpartition(".")[0] + "."
    names = ["." + name.removeprefix(scope) if scope != "." and name.startswith(scope) else name for name in node.inputs]
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, …, {names[-1]} ({len(names)})"


def head(kind: ops.AnyHead, classes: int) -> str:
    """Describe a head in words; `classes` are those of the sequence."""
    match kind:
        case ops.Categorical():
            return f"categorical: {classes} logits"
        case ops.Gaussian(std):
            return f"Gaussian with a standard deviation of {std:g}: a mean for each channel"
        case ops.LearntGaussian(floor):
            return f"Gaussian with a learnt scale: a mean and a log-scale ≥ {floor:g} for each channel"
        case ops.MixtureGaussians(components, floor):
            return f"mixture of Gaussians: {components} logits, means and log-scales ≥ {floor:g} for each channel"
        case ops.MixtureLogistics(components):
            return f"mixture of logistics over {classes} classes: {components} logits, means and log-scales"
        case _:
            assert_never(kind)


def operator(node: Node) -> str:
    """The operator with what sets it apart: 'conv1d K=2 D=4 strict'."""
    op, name = node.op, str(node.op.__struct_config__.tag)
    if isinstance(op, ops.PointwiseOp):
        return _pointwise(op, name)
    match op:
        case ops.Conv1d():
            groups = f" groups={op.groups}" if op.groups > 1 else ""
            return f"{name} {_window(op)}{' strict' if op.strict else ''}{groups}"
        case ops.Conv2d():
            return " ".join([name, *_conv2d(op)])
        case ops.Shift2d():
            down = [f"{'down' if op.down > 0 else 'up'} {abs(op.down)}"] if op.down else []
            right = [f"{'right' if op.right > 0 else 'left'} {abs(op.right)}"] if op.right else []
            return " ".join([name, *down, *right])
        case ops.Pool1d():
            return f"{op.kind} pool {_window(op)} {op.pad}"
        case ops.Shift():
            return f"{name} by {op.steps}" if op.steps >= 0 else f"{name} ahead by {-op.steps}"
        case ops.Input():
            role = "" if op.role == "sequence" else f"{op.role} "
            colours = f" {op.channels} colours" if op.classes and op.channels > 1 else ""
            return f"{role}{name} {op.classes} classes{colours}" if op.classes else f"{role}{name}"
        case _:
            assert_never(op)


def _pointwise(op: ops.PointwiseOp, name: str) -> str:
    """The name alone, unless whole numbers or a kind say more."""
    if isinstance(op, ops.Activation):
        return op.kind
    if isinstance(op, ops.Norm):
        return f"{op.kind}_norm"
    if isinstance(op, ops.Slice):
        return f"{name} {op.start}..{op.stop - 1}"
    if isinstance(op, ops.Position):
        return f"{name} {op.bits} bits"
    if isinstance(op, ops.PadChannels):
        return f"{name} {op.before}, {op.after}"
    return name


def _window(op: ops.Conv1d | ops.Pool1d) -> str:
    return f"K={op.kernel}" + (f" D={op.dilation}" if op.kernel > 1 and op.dilation > 1 else "")


def _conv2d(op: ops.Conv2d) -> list[str]:
    centre = (op.kernel[0] // 2, op.kernel[1] // 2)
    words = [f"{op.kernel[0]}×{op.kernel[1]}"]
    words += [f"D={op.dilation[0]}×{op.dilation[1]}"] if op.dilation != (1, 1) and op.kernel != (1, 1) else []
    words += [f"mask {op.mask}"] if op.mask != "none" else []
    words += [f"colours={op.colours}"] if op.colours > 1 else []
    words += [f"anchor={op.anchor[0]},{op.anchor[1]}"] if op.anchor not in (None, centre) else []
    return words + ([f"groups={op.groups}"] if op.groups > 1 else [])


def offsets_text(offsets: Iterable[int]) -> str:
    """The exact set, short: '1, 3, 5, …, 31 (16 offsets, odd)', '0–3, 8–11 (8 offsets, 4 holes)'."""
    numbers = sorted(offsets)
    if not numbers:
        return "none"
    if len(numbers) == 1:
        return f"{numbers[0]} (1 offset)"
    step = numbers[1] - numbers[0]
    count = f"{len(numbers)} offsets"
    if numbers == list(range(numbers[0], numbers[-1] + 1, step)):
        what = {1: "no holes", 2: "odd" if numbers[0] % 2 else "even"}.get(step, f"every {step}")
        return f"{_progression(numbers)} ({count}, {what})"
    holes = numbers[-1] - numbers[0] + 1 - len(numbers)
    return f"{_listing(_pieces(numbers))} ({count}, {holes} hole{'s' if holes > 1 else ''})"


def _progression(numbers: Sequence[int]) -> str:
    if len(numbers) <= 4:
        return ", ".join(map(str, numbers))
    return f"{', '.join(map(str, numbers[:3]))}, …, {numbers[-1]}"


def _pieces(numbers: list[int]) -> list[list[int]]:
    """Cut from the left into runs without holes, progressions of at least three, and single numbers."""
    pieces = []
    while numbers:
        length = 1
        if len(numbers) > 1:
            step = numbers[1] - numbers[0]
            while length < len(numbers) and numbers[length] - numbers[length - 1] == step:
                length += 1
            if length == 2 and step > 1:
                length = 1
        pieces.append(numbers[:length])
        numbers = numbers[length:]
    return pieces


def _listing(pieces: list[list[int]]) -> str:
    def text(piece: list[int]) -> str:
        if len(piece) > 1 and piece[1] - piece[0] == 1:
            return f"{piece[0]}–{piece[-1]}" if piece[0] >= 0 else f"{piece[0]} to {piece[-1]}"
        return _progression(piece)

    shapes = {tuple(number - piece[0] for number in piece) for piece in pieces}
    gaps = {b[0] - a[0] for a, b in itertools.pairwise(pieces)}
    if len(pieces) > 4 and len(shapes) == 1 and len(gaps) == 1:
        return f"{', '.join(map(text, pieces[:2]))}, …, {text(pieces[-1])}"
    return ", ".join(map(text, pieces))


def dependency_picture(offsets: Iterable[int], width: int) -> list[str]:
    """The past as a row of marks, the present or what lies furthest ahead at the right: used ■, not used ·.

    Where they are many, several positions share a mark, partly used ▪.
    """
    seen = {0, *offsets}
    first, last = max(seen), min(seen)
    span, seen = first - last + 1, set(offsets)
    each = -(-span // max(width, 8))
    marks = -(-span // each)
    row = []
    for i in range(marks):
        cell = range(last + i * each, min(last + (i + 1) * each, first + 1))
        used = sum(offset in seen for offset in cell)
        row.append("■" if used == len(cell) else "▪" if used else "·")
    left, right = f"t-{first}" if first else "t" if last else "", f"t+{-last}" if last else "t"
    ruler = left + right.rjust(marks - len(left)) if marks > len(left) + len(right) else right.rjust(marks)
    legend = "■ used  · not used" if each == 1 else f"one mark is {each} positions: ■ all used, ▪ some, · none"
    return ["".join(reversed(row)), ruler, legend]
