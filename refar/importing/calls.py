"""The calls that are known, by their names in ATen. What is not in the table is refused: there is no default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from refar import ops
from refar.importing import axes, calls_in_plane, calls_in_time, calls_of_channels, norms, pointwise
from refar.importing.arithmetic import add, batch_norm, div, linear, mul, rsub, sub
from refar.importing.context import Arguments, Context
from refar.importing.functions import FUNCTIONS, applied
from refar.importing.refusal import refuse_call
from refar.importing.values import Anything, Constant, Filled, Labelled, Part, StackedValues, Varying, shape, size_of


def _same(c: Context, a: Arguments) -> Anything:
    """Return x: for a copy, a cast between real numbers, and a dropout outside of training."""
    if a.get("train"):
        raise c.refuse("dropout in training mode", "call .eval() before")
    return a["self"] if "self" in a else a["input"]


def _cast(c: Context, a: Arguments) -> Anything:
    """Change the type of numbers; class indices become numbers by themselves."""
    given, kind = a["self"], a.get("dtype")
    if not isinstance(given, Labelled) or kind is None:
        return given
    floating = getattr(kind, "is_floating_point", False)
    if given.indexed and floating:
        return pointwise.numbers(c.draft, given, c.place)
    if not given.indexed and not floating:
        raise c.refuse(f"numbers are cut to {kind}", "leave the cast out")
    return given


def _cast_as(c: Context, a: Arguments) -> Anything:
    other = a["other"]
    if isinstance(a["self"], Labelled) and a["self"].indexed and not (isinstance(other, Labelled) and other.indexed):
        return pointwise.numbers(c.draft, a["self"], c.place)
    return a["self"]


def _power(c: Context, a: Arguments) -> Labelled | norms.Root:
    x = c.value(a["self"])
    if a.get("exponent", 2) in (0.5, -0.5):
        return norms.root(c, a, inverse=a["exponent"] < 0)
    if a.get("exponent", 2) != 2:
        raise c.refuse(f"a power of {a['exponent']}", "multiply a value with itself")
    return pointwise.joined(c.draft, ops.Multiply(), [x, x], c.place)


def _remainder(c: Context, a: Arguments) -> Anything:
    """Class indices below the divisor are their own remainders."""
    x, divisor = c.value(a["self"]), a["other"]
    if not x.indexed or not isinstance(divisor, int) or divisor <= max(x.size - 1, *x.before, 0):
        raise refuse_call(c.place, "remainder")
    return x


def _neg(c: Context, a: Arguments) -> Labelled:
    return pointwise.affine(c.draft, c.value(a["self"]), -1.0, 0.0, c.place)


def _halves(c: Context, a: Arguments) -> Labelled:
    """Gate by the second half of the channels: a · σ(b)."""
    x = c.value(a["self"])
    if x.axes[axes.position(x, a["dim"])] != "C":
        raise c.refuse("halves of another axis than channels")
    one, two = (pointwise.channels(c.draft, x, i * x.size // 2, (i + 1) * x.size // 2, c.place) for i in (0, 1))
    return pointwise.joined(c.draft, ops.Multiply(), [one, applied(c, ops.Activation("sigmoid"), two)], c.place)


def _softmax(c: Context, a: Arguments) -> Labelled:
    x = c.value(a["self"])
    axis = x.axes[axes.position(x, a["dim"])]
    if axis != "C":
        raise c.refuse(f"softmax over axis {axis}: every position reads all others", "over channels it is taken")
    return pointwise.pointwise(c.draft, ops.Softmax(), x, c.place, keeps_zero=False)


def _split(c: Context, a: Arguments) -> tuple[Anything, ...]:
    x = c.value(a["self"])
    axis = x.axes[axes.position(x, a["dim"])]
    if axis != "C":
        raise c.refuse(f"a split of axis {axis}", "split channels alone")
    if "chunks" in a:
        width = -(-x.size // c.whole(a["chunks"], "the count"))
        widths = [width] * (x.size // width) + [x.size % width] * (x.size % width > 0)
    elif isinstance(a.get("split_size"), int):
        width = a["split_size"]
        widths = [width] * (x.size // width) + [x.size % width] * (x.size % width > 0)
    else:
        given = a["split_sizes"] if "split_sizes" in a else a["split_size"]
        widths = [c.whole(n, "a width") for n in given]
    ends = np.cumsum(widths).tolist()
    return tuple(pointwise.channels(c.draft, x, e - w, e, c.place) for e, w in zip(ends, widths, strict=True))


def _unbind(c: Context, a: Arguments) -> tuple[Labelled, ...]:
    given = a["self"]
    if isinstance(given, StackedValues) and a["dim"] % (len(given.parts[0].axes) + 1) == given.axis:
        return given.parts
    x = c.value(given)
    count = {"C": x.size, "K": x.size // x.inner}.get(x.axes[axes.position(x, a["dim"])], 1)
    return tuple(_select(c, {"self": x, "dim": a["dim"], "index": i}) for i in range(count))


def _select(c: Context, a: Arguments) -> Labelled:
    given, index = a["self"], c.whole(a["index"], "the index")
    if isinstance(given, StackedValues):
        if a["dim"] % (len(given.parts[0].axes) + 1) != given.axis:
            raise c.refuse("a part of a stack along another axis", "take the stack apart first")
        return given.parts[index]
    x = c.value(given)
    at = axes.position(x, a["dim"])
    match x.axes[at]:
        case "C":
            x = pointwise.channels(c.draft, x, index % x.size, index % x.size + 1, c.place)
        case "K":  # equally many channels, one after the other
            index = index % (x.size // x.inner)
            part = pointwise.channels(c.draft, x, index * x.inner, (index + 1) * x.inner, c.place)
            x = replace(part, axes=tuple("C" if axis == "N" else axis for axis in x.axes), inner=1)
        case "1":
            pass
        case axis:
            raise c.refuse(f"one index of axis {axis} is taken", "return all positions and all sequences")
    return replace(x, axes=(*x.axes[:at], *x.axes[at + 1 :]))


def _cat(c: Context, a: Arguments) -> Labelled | StackedValues:
    parts = list(a["tensors"])
    values = [part for part in parts if isinstance(part, Labelled)]
    if not values:
        raise c.refuse("a concatenation without a value of the input")
    at = axes.position(values[0], a["dim"])
    if len({v.axes for v in values if v.timed}) > 1 or any(len(v.axes) != len(values[0].axes) for v in values):
        raise c.refuse(f"values with axes {[', '.join(v.axes) for v in values]} are concatenated")
    match next((v for v in values if v.timed), values[0]).axes[at]:
        case "T" | "H" | "W":
            return calls_in_time.concatenated(c, parts, at)
        case "C":
            whole = [
                i for i, part in enumerate(parts) if isinstance(part, Labelled) or (isinstance(part, Filled) and part.number)
            ]
            first, last = whole[0], whole[-1] + 1
            inner = [_filled_channels(c, part, values[0], at) for part in parts[first:last]]
            before, after = (sum(calls_in_time.zeros(c, p, at) for p in some) for some in (parts[:first], parts[last:]))
            joined = inner[0] if len(inner) == 1 else pointwise.joined(c.draft, ops.Concat(), inner, c.place)
            return calls_in_time.padded_channels(c, joined, before, after)
        case "1" if len(values) == len(parts):
            return StackedValues(tuple(replace(v, axes=(*v.axes[:at], *v.axes[at + 1 :])) for v in values), at)
        case axis:
            raise c.refuse(f"a concatenation along axis {axis}", "along channels it is taken")


def _filled_channels(c: Context, part: Any, beside: Labelled, at: int) -> Labelled:
    """Return a part of a concatenation of channels; one number throughout is that times ones."""
    if not isinstance(part, Filled):
        return c.value(part, "a part")
    sizes = [n for i, n in enumerate(shape(beside, c.runs)) if i != at]
    if [n for i, n in enumerate(part.sizes) if i != at] != sizes or part.sizes[at] != c.runs.same(part.sizes[at][0]):
        raise c.refuse("a tensor of one number whose sizes are not those of the value beside it")
    ones = pointwise.pointwise(c.draft, ops.Ones(), beside, c.place, size=1, keeps_zero=False)
    one = pointwise.affine(c.draft, ones, part.number, 0.0, c.place)
    return pointwise.spread(c.draft, one, part.sizes[at][0], c.place)


def _stack(c: Context, a: Arguments) -> StackedValues:
    parts = tuple(c.value(part, "a part") for part in a["tensors"])
    if len({part.axes for part in parts}) > 1:
        raise c.refuse("values with different axes are stacked")
    return StackedValues(parts, a["dim"] % (len(parts[0].axes) + 1))


def _summed(c: Context, a: Arguments, mean: bool) -> Labelled:
    given, dims = a["self"], a["dim"]
    what, dims = "mean" if mean else "sum", dims if isinstance(dims, list | tuple) else [dims]
    if len(dims) != 1 or not isinstance(dims[0], int):
        raise c.refuse(f"a {what} over {_over(c.value(given), dims)}", "take it over channels alone")
    if isinstance(given, StackedValues):
        if dims[0] % (len(given.parts[0].axes) + 1) != given.axis or a["keepdim"]:
            raise c.refuse("a stack is summed along another axis", "sum along the axis of the stack")
        whole = given.parts[0] if len(given.parts) == 1 else pointwise.joined(c.draft, ops.Add(), given.parts, c.place)
        return pointwise.affine(c.draft, whole, 1 / len(given.parts), 0.0, c.place) if mean else whole
    x = c.value(given)
    at = axes.position(x, dims[0])
    if x.axes[at] != "C":
        raise c.refuse(f"a {what} over axis {x.axes[at]}: every position would read all others", "use a pooling with stride 1")
    ones = np.full((1, x.size), 1 / x.size if mean else 1.0)
    x = pointwise.dense(c.draft, x, ones, None, wish=c.place.call, origin="fixed numbers", place=c.place)
    return x if a["keepdim"] else replace(x, axes=(*x.axes[:at], *x.axes[at + 1 :]))


def _over(x: Labelled, dims: Sequence[Any]) -> str:
    """Name several axes, which are all if none is given, and say what is wrong if time is one of them."""
    named = [x.axes[axes.position(x, dim)] for dim in dims if isinstance(dim, int)] or list(x.axes)
    wrong = ": every position would read all others" if set("THW") & set("".join(named)) else ""
    return f"the axes {', '.join(named)}{wrong}"


def _embedding(c: Context, a: Arguments) -> Labelled | Constant:
    table = c.array(a["weight"], "its table")
    match a["indices"]:
        case Filled(number, (batches, *sizes)) if batches == c.runs.batches and all(n == c.runs.same(n[0]) for n in sizes):
            wide = (1, *(n[0] for n in sizes), table.shape[1])  # of a token that is the same in every sequence
            return Constant(np.broadcast_to(table[int(number)], wide), a["weight"].origins)
    x = c.value(a["indices"])
    if not x.indexed:
        raise c.refuse("a lookup of numbers that are no class indices of an input")
    if x.size > len(table) or (x.size < len(table) and not x.before):
        start = f"start_token={x.size} if that stands in front of the sequence, else " if len(table) == x.size + 1 else ""
        raise c.refuse(f"a table of {len(table)} rows for {x.size} classes", f"say {start}classes={len(table)}")
    wish, origin = c.named(a["weight"])
    op = ops.Embedding(table.shape[1])
    found = pointwise.lookup(c.draft, x, op, table.shape[1], c.place, table=table, wish=wish, origin=origin)
    return _looked_up(found, x)


def _looked_up(found: Labelled, x: Labelled) -> Labelled:
    """Put the axis of the numbers of a lookup last: the channels, or of an image with colours the K of each."""
    return replace(found, axes=(*x.axes, "K" if x.inner > 1 else "C"))


def _one_hot(c: Context, a: Arguments) -> Labelled:
    x, count = c.value(a["self"]), c.whole(a["num_classes"], "the count of classes")
    if count < x.size or (count > x.size and not x.before):
        raise c.refuse(
            f"{count} unit vectors for {x.size} classes", f"say num_classes and classes={x.size if count < 0 else count}"
        )
    found = pointwise.lookup(c.draft, x, ops.OneHot(), count, c.place)
    return _looked_up(found, x)


def _scattered(c: Context, a: Arguments) -> Labelled:
    """One where a class is, put into zeros: a one-hot as it is written by hand."""
    zeros, index, number = a["self"], a["index"], a["value"] if "value" in a else a.get("src")
    number = number.number if isinstance(number, Filled) else number
    if not isinstance(zeros, Filled) or zeros.number != 0 or not isinstance(index, Labelled) or not index.indexed or number != 1:
        raise refuse_call(c.place, "scatter")
    at = axes.position(index, a["dim"])
    if index.axes[at] != "1" or len(zeros.sizes) != len(index.axes):
        raise refuse_call(c.place, "scatter")
    kept = replace(index, axes=(*index.axes[:at], *index.axes[at + 1 :]))
    found = _one_hot(c, {"self": kept, "num_classes": zeros.sizes[at][0]})
    return _moved(c, {"self": found, "source": len(kept.axes), "destination": at})


def _squeeze(c: Context, a: Arguments) -> Labelled:
    x = c.value(a["self"])
    dims = a.get("dim", range(len(x.axes)))
    if "dim" not in a:
        dims = [i for i, axis in enumerate(x.axes) if axis == "1" or (axis == "C" and x.size == 1)]
    return axes.squeezed(x, [dims] if isinstance(dims, int) else list(dims), c.runs, c.place)


def _reshape(c: Context, a: Arguments) -> Labelled:
    return axes.reshaped(c.value(a["self"]), a["size"] if "size" in a else a["shape"], c.runs, c.place)


def _flatten(c: Context, a: Arguments) -> Labelled:
    x = c.value(a["self"])
    first, last = axes.position(x, a["start_dim"]), axes.position(x, a["end_dim"])
    found, single = x.axes[first : last + 1], c.runs.same(1)
    merged = "".join(axis for axis in found if size_of(x, axis, c.runs) != single) or ("C" if "C" in found else "1")
    return axes.rejoined(replace(x, axes=(*x.axes[:first], merged, *x.axes[last + 1 :])))


def _unflatten(c: Context, a: Arguments) -> Labelled:
    x = c.value(a["self"])
    at = axes.position(x, a["dim"])
    around = [Varying(size_of(x, axis, c.runs)) for axis in x.axes]
    return axes.reshaped(x, [*around[:at], *a["sizes"], *around[at + 1 :]], c.runs, c.place)


def _expanded(c: Context, a: Arguments, size: Sequence[int | Varying]) -> Anything:
    """Repeat axes of one element. Of fixed numbers the batch alone may be, which stays one: all sequences have the same."""
    match a["self"]:
        case Constant(array) if len(size) >= array.ndim > 0 and len(size) > 1:
            wide = np.asarray(array).reshape((1,) * (len(size) - array.ndim) + array.shape)
            rest = [n for n in size[1:] if not isinstance(n, Varying)]
            if wide.shape[0] == 1 and axes.sizes_of(size[0], c.runs) == c.runs.batches and len(rest) == len(size) - 1:
                kept = (own if n == -1 else n for own, n in zip(wide.shape[1:], rest, strict=True))
                return replace(a["self"], array=np.broadcast_to(wide, (1, *kept)))
    return axes.expanded(c.value(a["self"]), size, c.runs, c.place)


def _repeated(c: Context, a: Arguments) -> Anything:
    counts = list(a["repeats"])
    match a["self"]:
        case Constant(array) if len(counts) == array.ndim and array.shape[0] == 1 and counts[1:] == [1] * (array.ndim - 1):
            return _expanded(c, a, [counts[0], *array.shape[1:]])
    return axes.repeated(c.value(a["self"]), counts, c.runs, c.place)


def _moved(c: Context, a: Arguments) -> Labelled:
    x = c.value(a["self"])
    order = [i for i in range(len(x.axes)) if i != axes.position(x, a["source"])]
    order.insert(axes.position(x, a["destination"]), axes.position(x, a["source"]))
    return axes.permuted(x, order)


def _filled_like(number: float) -> Callable[[Context, Arguments], Filled]:
    def fill(c: Context, a: Arguments) -> Filled:
        given = a["self"]
        return Filled(number, given.sizes if isinstance(given, Part | Filled) else shape(c.value(given), c.runs))

    return fill


def _filled(number: float) -> Callable[[Context, Arguments], Filled]:
    return lambda c, a: Filled(number, tuple(axes.sizes_of(n, c.runs) for n in a["size"]))


def _full(c: Context, a: Arguments) -> Filled:
    return Filled(float(a["fill_value"]), tuple(axes.sizes_of(n, c.runs) for n in a["size"]))


CALLS: dict[str, Callable[[Context, Arguments], Anything]] = {
    **dict.fromkeys(("contiguous", "clone", "detach", "alias", "dropout", "feature_dropout", "alpha_dropout"), _same),
    **dict.fromkeys(("to", "_to_copy"), _cast),
    "type_as": _cast_as,
    "conv1d": calls_in_time.conv1d,
    "conv2d": calls_in_plane.convolution,
    "conv_tbc": lambda c, a: calls_of_channels.conv_tbc(c, a, calls_in_time.conv1d),
    "matmul": calls_of_channels.matmul,
    "index_select": calls_of_channels.index_select,
    "index": calls_of_channels.index,
    "flip": calls_of_channels.flip,
    "max_pool1d": calls_in_time.max_pool1d,
    "avg_pool1d": calls_in_time.avg_pool1d,
    **dict.fromkeys(("pad", "constant_pad_nd"), calls_in_time.pad),
    "slice": calls_in_time.slice_,
    "narrow": lambda c, a: calls_in_time.slice_(c, {**a, "end": _end(c, a), "step": 1}),
    "linear": linear,
    "batch_norm": batch_norm,
    "layer_norm": norms.layer_norm,
    "rms_norm": norms.rms_norm,
    "var": norms.variance,
    "var_mean": norms.variance_and_mean,
    "sqrt": norms.root,
    "rsqrt": lambda c, a: norms.root(c, a, inverse=True),
    "reciprocal": norms.inverse,
    "add": add,
    "sub": sub,
    "rsub": rsub,
    "mul": mul,
    "div": div,
    "neg": _neg,
    **dict.fromkeys(("remainder", "fmod"), _remainder),
    **dict.fromkeys(("pow", "square"), _power),
    **FUNCTIONS,
    "glu": _halves,
    "softmax": _softmax,
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _split),
    "unbind": _unbind,
    "select": _select,
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "stack": _stack,
    "sum": lambda c, a: _summed(c, a, mean=False),
    "mean": lambda c, a: _summed(c, a, mean=True),
    "embedding": _embedding,
    "one_hot": _one_hot,
    "scatter": _scattered,
    "squeeze": _squeeze,
    "unsqueeze": lambda c, a: axes.unsqueezed(c.value(a["self"]), a["dim"]),
    **dict.fromkeys(("view", "reshape", "_unsafe_view"), _reshape),
    "flatten": _flatten,
    "unflatten": _unflatten,
    **dict.fromkeys(("transpose", "swapaxes"), lambda c, a: axes.transposed(c.value(a["self"]), *_two(a))),
    "permute": lambda c, a: axes.permuted(c.value(a["self"]), a["dims"]),
    "movedim": _moved,
    "expand": lambda c, a: _expanded(c, a, a["size"]),
    "repeat": _repeated,
    "zeros": _filled(0.0),
    "ones": _filled(1.0),
    "new_zeros": _filled(0.0),
    "new_ones": _filled(1.0),
    "new_full": _full,
    "full_like": lambda c, a: _filled_like(float(a["fill_value"]))(c, a),
    "zeros_like": _filled_like(0.0),
    "ones_like": _filled_like(1.0),
    "full": _full,
}
"""The meaning of each call, by its name: without the overload, and without the underscore of a call that works in place."""


def _two(a: Arguments) -> tuple[int, int]:
    return (a["dim0"], a["dim1"]) if "dim0" in a else (a["axis0"], a["axis1"])


def _end(c: Context, a: Arguments) -> Any:
    """Return the end of a part, its start plus its length."""
    total = [s + n for s, n in zip(axes.sizes_of(a["start"], c.runs), axes.sizes_of(a["length"], c.runs), strict=True)]
    return Varying(tuple(total)) if len(set(total)) > 1 else total[0]


def call(c: Context, name: str, a: Arguments) -> Anything:
    """Take one call into the draft. Raises ImportRefused for one that is not known."""
    if name not in CALLS:
        raise refuse_call(c.place, name)
    return CALLS[name](c, a)
