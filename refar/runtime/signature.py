"""The ports that each model of a bundle must have: names, types, ranks and fixed sizes follow from graph and state."""

from __future__ import annotations

from typing import Any

from refar.analysis import image_slots
from refar.analysis.facts import Facts
from refar.analysis.image_slots import ImageSlots
from refar.analysis.linear import windows
from refar.analysis.slots import Slots, StateLayout
from refar.analysis.types import Type
from refar.errors import FileError, printable
from refar.runtime import bundle, sampler_ports
from refar.runtime.bundle import CLOCK, FIXED, FULL, LENGTH, OUTPUT, PAST, PRESENT

Port = tuple[str, tuple[int | None, ...]]
"""The type of a tensor as onnxruntime names it, and its sizes; None is a free one."""

_FLOAT, _INT = "tensor(float)", "tensor(int64)"


def check_signature(
    what: str, model: str, session: Any, found: Facts, layout: StateLayout | None, slots: ImageSlots | None
) -> None:
    """Raise FileError, which says `what` it is, unless a loaded model has exactly the ports that its graph implies."""
    of_image = slots is not None and model in slots.ports
    wanted = image_signature(model, found, slots) if of_image and slots is not None else signature(model, found, layout)
    for role, expected, values in zip(("inputs", "outputs"), wanted, (session.get_inputs(), session.get_outputs()), strict=True):
        got = {value.name: (value.type, tuple(n if isinstance(n, int) else None for n in value.shape)) for value in values}
        if got.keys() != expected.keys():
            raise FileError(f"{what}: expected {role} {sorted(expected)}, got {printable(str(sorted(got)))}")
        for name, port in expected.items():
            if got[name] != port:
                raise FileError(f"{what}: {name}: expected {_said(port)}, got {_said(got[name])}")


def signature(model: str, found: Facts, layout: StateLayout | None) -> tuple[dict[str, Port], dict[str, Port]]:
    """The inputs and outputs of one model of a bundle."""
    whole = {name: _port(found.types[name]) for name in found.inputs}
    y = found.types[found.graph.output]
    if model == FULL or layout is None:
        return whole, {OUTPUT: _port(y)}
    fixed = {f"{FIXED}.{name}": _port(found.types[name]) for name in layout.fixed}
    past: dict[str, Port] = {}
    for name, (slots, channels) in layout.sizes.items():
        past[f"{PAST}.{name}"] = (_INT if layout.tensors[name][0].classes else _FLOAT, (slots, None, channels))
    present: dict[str, Port] = {name.replace(PAST, PRESENT, 1): port for name, port in past.items()}
    clock: Port = (_INT, ())
    timed = {name: port for name, port in whole.items() if found.types[name].timed}
    match model:
        case bundle.SAMPLER:
            return _free(sampler_ports.inputs(found, layout)), _free(sampler_ports.outputs(found, layout))
        case bundle.PREFILL:
            return {**whole, LENGTH: (_INT, (None,))}, {OUTPUT: _port(y.at_once), **present, **fixed}
        case image_slots.CONDITION:
            return {name: port for name, port in whole.items() if name not in timed}, fixed
        case bundle.STEP:
            now = {name: _port(found.types[name].at_once) for name in timed}
            given = {**now, **fixed, **past, f"{PAST}.{CLOCK}": clock}
            return given, {OUTPUT: _port(y.at_once), **present, f"{PRESENT}.{CLOCK}": clock}
        case bundle.BLOCK:
            given = {**timed, **fixed, **past, f"{PAST}.{CLOCK}": clock}
            return given, {OUTPUT: _port(y), **present, f"{PRESENT}.{CLOCK}": clock}
        case bundle.WINDOW:
            read = {f"{PAST}.{each.port}": each.node for each in windows(found, layout).values()}
            old = {name: _rows(layout.slots[node]) for name, node in read.items()}
            new = {f"{PRESENT}.{name}": _rows(each) for name, each in layout.slots.items()}
            now = {name: (kind, (None, *sizes[:1], *sizes[1:-1])) for name, (kind, sizes) in timed.items()}  # (T, B, C)
            return {**now, **fixed, **old}, {OUTPUT: (_FLOAT, (None, y.channels)), **new}
        case _:
            raise AssertionError(model)


def _free(ports: dict[str, sampler_ports.Port]) -> dict[str, Port]:
    """The ports with types as onnxruntime names them, and free sizes without names."""
    return {
        name: (_INT if whole else _FLOAT, tuple(size if isinstance(size, int) else None for size in sizes))
        for name, (whole, sizes) in ports.items()
    }


def image_signature(model: str, found: Facts, slots: ImageSlots) -> tuple[dict[str, Port], dict[str, Port]]:
    """The inputs and outputs of one model that computes images row by row or pixel by pixel."""

    def port(name: str) -> Port:
        side, _, rest = name.partition(".")
        if name in ("row", "column", "width", "height", "batch"):
            return _INT, ()
        if name == "line":
            return _FLOAT, (None, None, slots.line_channels)
        if rest == "pixels":
            return _FLOAT, (None, None, slots.stored_channels)
        if side in (PAST, PRESENT):
            node = rest.removeprefix("rows.")
            return _FLOAT, (slots.rings[node], None, found.types[node].channels, None)
        if side == FIXED:
            return _FLOAT, (None, found.types[rest].channels, *((None, None) if found.types[rest].timed else ()))
        kind = found.types[found.graph.output if name == OUTPUT else name]
        if model == image_slots.CONDITION:
            return _port(kind)
        columns = (None,) if model == image_slots.PIXELS else ()
        return _INT if kind.indexed else _FLOAT, (*columns, None, kind.channels)

    ports = slots.ports[model]
    return {name: port(name) for name in ports.inputs}, {name: port(name) for name in ports.outputs}


def _port(kind: Type) -> Port:
    sizes = {"b": None, "c": kind.channels, "t": None, "h": None, "w": None}
    return _INT if kind.indexed else _FLOAT, tuple(sizes[axis] for axis in kind.axes)


def _rows(each: Slots) -> Port:
    """The port of rows of a node, (rows, C), or of classes, (rows)."""
    return (_INT, (None,)) if each.classes else (_FLOAT, (None, each.channels))


def _said(port: Port) -> str:
    kind, sizes = port
    return f"{printable(kind)} of ({', '.join('any' if size is None else str(size) for size in sizes)})"
