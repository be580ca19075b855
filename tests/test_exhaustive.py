"""A forgotten operator is an error: the type checker finds each table that lacks it, and each such table refuses it in a run."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch

from refar import ops
from refar.analysis import blind_spot, offsets, types, windows
from refar.cli import describe
from refar.exact import literal
from refar.graph.graph import Node
from refar.importing import colours
from refar.importing.draft import Planned
from refar.oracle import backward as gradients
from refar.oracle import convolution
from refar.oracle import forward as values
from refar.oracle.windows import window_offsets
from refar.rounding import balls, bound, spread
from refar.testing.contract import operators
from refar.torch import lower as torch_lower
from refar.torch import unroll as torch_unroll
from refar_export import image_pixels, image_rows, lower
from refar_export.whole_graphs import whole_node

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("refar", "export") for path in sorted((ROOT / folder).rglob("*.py"))]

OPERATORS = {kind.__name__ for kind in get_args(ops.AnyOp)} - {"Input"}

POINTWISE = {
    "analysis/types.py: rule",
    "exact/literal.py: definition",
    "oracle/forward.py: forward",
    "oracle/backward.py: backward",
    "rounding/bound.py: forward",
    "rounding/bound.py: backward",
    "rounding/spread.py: spread",
    "rounding/balls.py: enclose",
    "torch/lower.py: apply",
    "refar_export/lower.py: pointwise",
    *(f"importing/colours.py: {name}" for name in ("_numbered", "_seen", "_rewritten")),
}
"""The tables that a new operator that looks at one position must stand in."""

READING = (POINTWISE - {"refar_export/lower.py: pointwise"}) | {
    "oracle/convolution.py: by_tap",
    "oracle/convolution.py: by_tap_backward",
    "refar_export/whole_graphs.py: whole_node",
    "refar_export/image_pixels.py: _node",
    "refar_export/image_rows.py: _computed",
    "cli/describe.py: operator",
    "cli/describe.py: _products",
    "testing/contract/operators.py: _reduce",
}

WINDOWED = READING | {
    "analysis/windows.py: taps",
    "analysis/offsets.py: _of_windows",
    "oracle/windows.py: window_offsets",
    "refar_export/lower.py: windowed_step",
    "torch/unroll.py: windowed",
}
"""The tables of an operator that reads other positions, over time."""

IMAGE = READING | {
    *(f"analysis/windows.py: {name}" for name in ("kernel_steps", "sees", "steps", "adds_taps", "furthest")),
    "analysis/offsets.py: _of_image",
    "analysis/blind_spot.py: _repeated",
}
"""The tables of an operator that reads other pixels."""

FUNCTIONS = {
    "analysis/kinks.py: kinks",
    "exact/literal.py: _activation",
    "oracle/elementwise.py: activation",
    "oracle/elementwise.py: activation_slope",
    "rounding/elementwise.py: rounding",
    "rounding/elementwise.py: slope_rounding",
    "rounding/elementwise.py: steepest",
    "rounding/elementwise.py: span",
    "rounding/balls.py: _activation",
    "torch/lower.py: activation",
    "refar_export/lower.py: _activation",
}
"""The tables of a function of an element."""

HEADS = {
    "analysis/facts.py: _check_head",
    "analysis/heads.py: output_numbers",
    "analysis/sampler.py: noise_numbers",
    "arguments/unrolling.py: feedback_of",
    "cli/describe.py: head",
    "exact/sampler.py: drawn",
    "noise.py: _counts",
    "noise.py: _transform",
    "noise.py: sample",
    "oracle/feedback.py: fed_back",
    "oracle/feedback.py: fed_back_backward",
    "oracle/losses.py: nats",
    "oracle/losses.py: nats_backward",
    "refar_export/sampler_graph.py: _draw",
    "runtime/density.py: log_prob",
    "testing/contract/drawn.py: _require",
    "testing/known/loss.py: _large",
    "testing/known/loss_tolerance.py: _nats",
    "torch/feedback.py: fed_back",
    "torch/losses.py: nats",
}
"""The tables of a head."""

PICKED = {
    # of modules that are imported
    "importing/draft.py: _merged": "scales of channels become parts of what has scales of channels",
    "importing/functions.py: _erf": "a gelu that is written out",
    "importing/functions.py: gelu_of": "a gelu that is written out",
    "importing/norms.py: divided": "a norm that is written out",
    "importing/norms.py: _mean_of": "a norm that is written out",
    "importing/torch_parameters.py: referred": "one slope may stand for those of all channels",
    "importing/norms.py: _is_repeated": "a norm that is written out",
    "importing/torch_calls.py: _starts": "ones that a pooling reads mark no start",
    "importing/pointwise.py: joined": "a product is 0 where one factor is, and the channels of a concatenation add up",
    "importing/onnx_nodes.py: _cast": "a one-hot holds zeros and ones, which a cast to whole numbers leaves as they are",
    "importing/moves.py: looks_ahead": "a delay only moves what looks ahead",
    # what the operators of one graph must be to each other
    "analysis/facts.py: _check_padding": "how a pool is given its ones",
    "analysis/facts.py: _check_head": "no softmax before a categorical head",
    # what is computed from the shape of x alone
    "analysis/facts.py: _is_source": "ones are a value of their own, without an input over time",
    "analysis/raster.py: varying": "ones and positions do not read the values of x",
    "testing/contract/dependence.py: _felt": "no gradient is asked of them",
    # a lookup that is missing here is not delayed, and `require_strict` then refuses the graph
    "building/rewrite.py: _late_input": "class indices cannot be delayed, what is looked up can",
    "building/rewrite.py: _relaxed_node": "a lookup that is missing cannot take a signal, as `rule` says",
    "building/rewrite.py: relaxed_parameters": "what a lookup has as a weight",
    "building/rewrite.py: unrelaxed_gradients": "a table is a parameter of its own",
    # the one operator with a mask
    "analysis/masks.py: masks": "which weights a mask hides",
    "rounding/balls.py: _by_tap": "which weights a mask hides",
    "rounding/transforms.py: convolution": "one dilation, or one for each axis",
    "cli/describe.py: layers": "how many weights a mask hides",
    "testing/contract/cases.py: masks": "which weights a mask hides",
    # what meets a parameter is the argument itself, but for these
    "rounding/stored.py: _moved": "a norm and a learnt slope",
    # what only training does
    "torch/dropping.py: rates": "dropout has a mask",
    "training/checks.py: check_reach": "weights that no sequence reaches",
    # within a case of a match
    "rounding/bound.py: backward": "only these have weights that a device rounds first",
    # what is asked of one operator by its name
    "testing/known/transformed.py: as_by_transform": "convolutions are what people compute by FFT",
    "mistakes/of_graphs.py: _with_powers": "dilations are what layers over time have",
    # words of a page; the name of the operator says enough of any other
    "cli/describe.py: _pointwise": "attributes that are worth showing",
    # the sizes of inputs in tests
    "testing/contract/cases.py: _spans": "no length that a dilation divides",
    "testing/contract/operators.py: _sizes": "no length that a dilation divides; positions need many rows",
    "testing/contract/operators.py: _reduce_pointwise": "fewer channels",
    "testing/contract/operators.py: _case": "how a pool is given its ones",
    "testing/contract/streaming.py: block": "splits around the length of a kernel",
    "golden/node_operators.py: as_graph": "how a pool is given its ones",
    # what a law allows for, or how its inputs are made
    "testing/contract/dependence.py: _averaged": "a maximum has no gradient to most of its window",
    "testing/contract/spreading.py: _error": "what marks the positions that exist is exact",
    "testing/contract/integers.py: _magnitudes": "a maximum of magnitudes is no bound",
    "testing/contract/integers.py: _magnitude": "attributes that are subtracted or choose a slope",
    "testing/contract/operators.py: integral": "attributes that keep integers integers",
    "testing/contract/numbers.py: _lost_in_slopes": "slopes that are computed as differences",
    "analysis/kinks.py: bends": "an operator without a kink has none",
    # patterns of operators that are known to have a faster form, or a mistake; nothing happens to any other
    "mistakes/of_graphs.py: _with_halves_swapped": "a gate has halves",
    "refar_export/image_rows.py: _part": "an assertion",
    "refar_export/image_rows.py: _keeps_zero": "what gives 0 of zeros need not be set to 0",
    "refar_export/image_rewrites.py: moved_biases": "a sum of convolutions of images",
    "refar_export/image_rewrites.py: _clock": "a convolution of images",
    "refar_export/image_rewrites.py: _gives": "a convolution of images",
    "refar_export/image_rewrites.py: _with_bias": "an assertion",
    "refar_export/image_sums.py: set_aside": "a convolution of images in a sum or a gate",
    "refar_export/image_sums.py: halved_lines": "a gate of a sum",
    "refar_export/image_sums.py: beside": "a convolution of images in a sum",
    "refar_export/image_pixels.py: _value": "a gate of a sum",
    "refar_export/image_pixels.py: _terms": "a convolution of images in a sum",
    "refar_export/image_pixels.py: _pointwise": "one number for each class needs no axis of its own",
    "refar_export/rewrites.py: point": "a dense layer at each position",
    "refar_export/rewrites.py: lookups": "a dense layer of a one-hot vector",
    "refar_export/rewrites.py: sums": "a sum of dense layers",
    "refar_export/rewrites.py: gates": "a gate of a convolution",
    "refar_export/rows.py: compute": "sums of dense layers, and one-hots that only dense layers read",
    "refar_export/rows.py: _is_joined": "a dense layer in a sum",
    "refar_export/rows.py: _is_gated_sum": "a gate of a sum",
    "refar_export/rows.py: _is_lookup": "a dense layer of a one-hot vector",
    "refar_export/device_rows.py: batches": "convolutions of past values",
    "refar_export/device_rows.py: compute": "a gate of one product",
    "refar_export/one_tanh.py: one_tanh": "a gate of a convolution that dense layers read",
    "refar_export/one_tanh.py: is_product": "a gate of a convolution",
    "refar_export/one_tanh.py: goes_into_products": "a gate that dense layers read side by side with others",
    "refar_export/one_tanh.py: _multiplies": "a gate that dense layers read",
    "refar_export/rows.py: _count_readers": "dense layers that read the same values",
    "refar_export/block_graph.py: block": "a convolution of many taps",
    "refar_export/block_reads.py: dense_convolutions": "a convolution of many taps",
    "refar_export/window_graph.py: window": "a long convolution is a Conv over time",
    # of all values only a one-hot is determined by one number
    "analysis/slots.py: state_layout": "a one-hot is kept as its class",
    # the operators that have a matrix product
    "bench/floor.py: products": "convolutions",
    "bench/floor.py: _product": "convolutions",
    "analysis/int8_products.py: int8_products": "convolutions over time",
    "oracle/int8_network.py: forward_nodes": "convolutions over time",
    "testing/contract/in_int8.py: _product_errors": "convolutions over time",
}
"""The functions that single out operators by `isinstance`, where any other operator is no mistake, and for what."""


def over_operators(match: ast.Match) -> bool:
    """Whether a case names a class of `refar.ops`."""
    names = [pattern.cls for case in match.cases for pattern in ast.walk(case.pattern) if isinstance(pattern, ast.MatchClass)]
    return any(isinstance(name, ast.Attribute) and isinstance(name.value, ast.Name) and name.value.id == "ops" for name in names)


def open_tables(source: str) -> list[int]:
    """The lines of matches over operators or heads that do not end in `case _: assert_never(…)`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Match) and over_operators(node):
            last = node.cases[-1]
            wildcard = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None and last.guard is None
            if not wildcard or not ast.unparse(last.body[-1]).startswith("assert_never("):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_table_over_operators_ends_in_assert_never(path: Path) -> None:
    assert not open_tables(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "last", ["case _:\n        return 0", "case ops.Add():\n        return 0", "case _ if x:\n        assert_never(op)"]
)
def test_a_default_is_seen(last: str) -> None:
    assert open_tables(f"match op:\n    case ops.Slice():\n        return 1\n    {last}\n") == [1]


def singled_out(source: str) -> set[str]:
    """The functions that ask by `isinstance` for a class of `refar.ops` that is an operator, but for the input."""
    found = set()
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance"]
            asked = {part.attr for call in calls for part in ast.walk(call.args[1]) if isinstance(part, ast.Attribute)}
            if asked & OPERATORS:
                found.add(function.name)
    return found


def test_whoever_singles_out_an_operator_is_listed_with_a_reason() -> None:
    """`if isinstance(op, ops.Conv1d): … else: …` is a table with a default branch that no type checker reports."""
    found = {f"{place(path)}: {name}" for path in SOURCES for name in singled_out(path.read_text(encoding="utf-8"))}
    assert found == PICKED.keys()


def test_an_operator_that_is_singled_out_is_seen() -> None:
    assert singled_out("def f(op):\n    return 1 if not isinstance(op, ops.Shift | ops.Input) else 2\n") == {"f"}
    assert not singled_out("def f(op):\n    return isinstance(op, ops.Input | ops.WindowedOp)\n")


def place(path: Path) -> str:
    """How the tables here name a file: by its path in `refar` or `export`."""
    return path.relative_to(ROOT).as_posix().split("/", 1)[1]


def test_a_dummy_operator_is_an_error_in_every_table_of_its_family(tmp_path: Path) -> None:
    """One that looks at a single position, one that reads others over time, one of images, a head and a function, in a copy."""
    for folder in ("refar", "export"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    if (cache := ROOT / ".mypy_cache").is_dir():  # what mypy knows of other packages need not be found out again
        shutil.copytree(cache, tmp_path / ".mypy_cache")
    text = (tmp_path / "refar/ops/__init__.py").read_text(encoding="utf-8")
    names = ("DummyA", "DummyB", "DummyC")
    dummies = "".join(f'class {name}(Op, frozen=True, tag="{name}"):\n    """A dummy."""\n\n\n' for name in names)
    text = text.replace("WindowedOp = Conv1d", f"{dummies}WindowedOp = DummyB | Conv1d")
    text = text.replace("PointwiseOp = (\n", "PointwiseOp = (\n    DummyA |").replace("ImageOp = ", "ImageOp = DummyC | ")
    text = text.replace(
        '"hard_sigmoid", "hard_swish", "mish", "sin", "snake",\n',
        '"hard_sigmoid", "hard_swish", "mish", "sin", "snake", "dummy",\n',
    )
    (tmp_path / "refar/ops/__init__.py").write_text(text, encoding="utf-8")
    head = 'class DummyHead(Struct, frozen=True, tag_field="type", tag="dummy_head"):\n    """A dummy."""\n\n\n'
    text = (tmp_path / "refar/ops/heads.py").read_text(encoding="utf-8")
    (tmp_path / "refar/ops/heads.py").write_text(text.replace("AnyHead = ", f"{head}AnyHead = DummyHead | "), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "refar", "export/refar_export"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    found: dict[str, set[str]] = defaultdict(set)
    for file, line, kinds in re.findall(r'^(\S+?):(\d+): error: Argument 1 to "assert_never" has .*?"(.*?)"', run.stdout, re.M):
        function = function_at((tmp_path / file).read_text(encoding="utf-8"), int(line))
        for dummy in kinds.split(" | "):
            found[dummy].add(f"{file.split('/', 1)[1]}: {function}")
    assert found.pop("Literal['dummy']") == FUNCTIONS, run.stdout
    assert found == {"DummyA": POINTWISE, "DummyB": WINDOWED, "DummyC": IMAGE, "DummyHead": HEADS}, run.stdout


DRAWN = {f"testing/strategies.py: {name}" for name in ("graphs", "_add_operator", "plane_graphs", "_add_plane_operator")}


def test_contributing_names_every_table() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| `(?:refar|export)/(\S+)`, `(\w+)` \|", page, re.M)
    assert {f"{file}: {function}" for file, function in rows} == POINTWISE | {"testing/examples.py: POINTWISE"}
    for table in FUNCTIONS:
        file, function = table.split(": ")
        row = page.partition("A new *function of an element*")[2].partition("\n\n")[0]
        assert f"`{'export' if file.startswith('refar_export') else 'refar'}/{file}`" in row
        assert f"`{function}`" in row
    over_time, of_images = set[str](), set[str]()
    for file, *cells in re.findall(r"^\| `(?:refar|export)/(\S+)` \| (.*) \| (.*) \|$", page, re.M):
        for found, cell in zip((over_time, of_images), cells, strict=True):
            found.update(f"{file}: {function}" for function in re.findall(r"`(\w+)`", cell))
    paragraph = page.partition("A new *head* goes into")[2].partition("\n\n")[0]
    for table in HEADS:
        file, function = table.split(": ")
        assert f"`{'export' if file.startswith('refar_export') else 'refar'}/{file}`" in paragraph
        assert f"`{function}`" in paragraph
    assert over_time - DRAWN == WINDOWED - POINTWISE
    assert of_images - DRAWN == IMAGE - POINTWISE


class NewOverTime(ops.Op, frozen=True, tag="new_over_time"):
    """An operator that reads other positions, and that no table has."""


class NewOverImages(ops.Op, frozen=True, tag="new_over_images"):
    """An operator that reads other pixels, and that no table has."""


X_BC1, SEEN, PIXEL, PLACES = np.ones((1, 2, 1)), (frozenset({0}),) * 2, (0, 0), np.arange(2)
EMITTER = SimpleNamespace(facts=SimpleNamespace(kinds={"new": ()}))


def planned(op: Any) -> Planned:
    """A node of an imported graph."""
    return Planned(op, ("x",), {}, "", "new")


TABLES: dict[str, Callable[[Any], object]] = {
    "analysis/types.py: rule": lambda op: types.rule(Node("new", op, ("x",)), [types.Type(2, False, True)]),
    "exact/literal.py: definition": literal.is_exact,
    "oracle/forward.py: forward": lambda op: values.forward(op, [X_BC1], {}, 0, np.dtype(np.float64)),
    "oracle/backward.py: backward": lambda op: gradients.backward(op, [X_BC1], {}, X_BC1, X_BC1),
    "rounding/bound.py: forward": lambda op: bound.forward(op, [X_BC1], {}),
    "rounding/bound.py: backward": lambda op: bound.backward(op, [X_BC1], X_BC1, {}),
    "rounding/spread.py: spread": spread.spread,
    "rounding/balls.py: enclose": lambda op: balls.enclose(op, [], {}, balls.Frame((), np.zeros(1, np.int64), [])),
    "torch/lower.py: apply": lambda op: torch_lower.apply(op, [torch.ones(1, 2, 1)], [None], None, None, 0, torch.float32),
    "oracle/convolution.py: by_tap": lambda op: convolution.by_tap(op, {}),
    "oracle/convolution.py: by_tap_backward": lambda op: convolution.by_tap_backward(op, {}, {}),
    "refar_export/whole_graphs.py: whole_node": lambda op: whole_node(EMITTER, Node("new", op, ("x",)), ["x"], [None]),
    "refar_export/image_pixels.py: _node": lambda op: image_pixels.PixelGraph._node(None, Node("new", op, ("x",))),
    "refar_export/image_rows.py: _computed": lambda op: image_rows.RowGraph._computed(None, Node("new", op, ("x",)), 0),
    "cli/describe.py: operator": lambda op: describe.operator(Node("new", op, ("x",))),
    "cli/describe.py: _products": lambda op: describe._products(op, ()),
    "testing/contract/operators.py: _reduce": lambda op: operators._reduce(op, []),
    "analysis/windows.py: taps": windows.taps,
    "analysis/offsets.py: _of_windows": lambda op: offsets._of_windows(op, 2, SEEN),
    "oracle/windows.py: window_offsets": window_offsets,
    "refar_export/lower.py: windowed_step": lambda op: lower.windowed_step(EMITTER, op, [["x"]]),
    "torch/unroll.py: windowed": lambda op: torch_unroll.windowed(op, [torch.ones(1, 2, 1)], None, None),
    "analysis/windows.py: kernel_steps": windows.kernel_steps,
    "analysis/windows.py: sees": lambda op: windows.sees(op, PIXEL, 0, 0),
    "analysis/windows.py: steps": windows.steps,
    "analysis/windows.py: adds_taps": windows.adds_taps,
    "analysis/windows.py: furthest": windows.furthest,
    "analysis/offsets.py: _of_image": lambda op: offsets._of_image(op, SEEN, windows.grid_for(1, 1)),
    "analysis/blind_spot.py: _repeated": blind_spot._repeated,
    "importing/colours.py: _numbered": lambda op: colours._numbered(None, op, []),
    "importing/colours.py: _seen": lambda op: colours._seen(planned(op), [], 1),
    "importing/colours.py: _rewritten": lambda op: colours._rewritten(planned(op), "new", {}, {"new": PLACES, "x": PLACES}, 1),
}
"""How each table of `WINDOWED` and `IMAGE` is asked for an operator."""


@pytest.mark.parametrize(
    ("family", "kind", "table"),
    [
        *(("WindowedOp", NewOverTime, table) for table in sorted(WINDOWED)),
        *(("ImageOp", NewOverImages, table) for table in sorted(IMAGE)),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_no_table_takes_an_operator_that_it_lacks_for_another(
    family: str, kind: type[ops.Op], table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What mypy was not asked about, a table refuses in a run."""
    monkeypatch.setattr(ops, family, getattr(ops, family) | kind)
    with pytest.raises(AssertionError, match="unreachable"):
        TABLES[table](kind())


def function_at(source: str, line: int) -> str:
    """The name of the function that a line is in."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return next(node.name for node in functions if node.lineno <= line <= (node.end_lineno or 0))
