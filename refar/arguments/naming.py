"""Which parameter of a module is which of a graph: by names given, by equal names, and by shapes where names fail."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from refar.analysis.facts import facts
from refar.errors import ParameterError, near
from refar.graph.graph import Graph

Shape = tuple[int, ...]


def match(
    graph: Graph,
    own: Mapping[str, Shape],
    names: Mapping[str, str],
    ignore: Collection[str] = (),
    aliases: Mapping[str, str] | None = None,
    one_for_all: Collection[str] = (),
) -> dict[str, str]:
    """{graph's parameter: module's parameter}; several may share one. `aliases` are other names of the module's parameters.

    `names` maps parameters, or whole nodes with all that they have ("" is the module itself); what it leaves out has the same
    name on both sides.
    `own` are the module's parameters; those in `ignore`, or in a submodule that is, may stay unused. Raises ParameterError with
    names and shapes for everything that is left over on either side, and for shapes that differ by more than axes of length 1;
    but of the graph's parameters in `one_for_all`, one number of the module's may stand for all.
    """
    wanted = facts(graph).parameters
    nodes = {name.rpartition(".")[0] for name in wanted}
    for key in names:
        if key not in wanted and key not in nodes:
            hint = near(key, [*wanted, *nodes])
            if _owns(own, key) and (names[key] in wanted or names[key] in nodes):
                hint = ", but the module's: names maps the other way, {graph's name: module's name}"
            raise ParameterError(f"names: {key!r} is no parameter or node of the graph{hint}")
    found = {name: (aliases or {}).get(other := _counterpart(name, names), other) for name in wanted}
    used = {name for name in found.values() if name in own}
    missing = {name: shape for name, shape in wanted.items() if found[name] not in own}
    surplus = {name: shape for name, shape in own.items() if name not in used and not _in(name, ignore)}
    if missing or surplus:
        raise ParameterError(_left_over(missing, surplus, found))
    for name, shape in wanted.items():
        single = name in one_for_all and not _bare(own[found[name]])
        if _bare(own[found[name]]) != _bare(shape) and not single:
            hint = ": it has the axes in another order" if sorted(own[found[name]]) == sorted(shape) else ""
            raise ParameterError(f"parameter {name!r}: expected shape {shape}, got {own[found[name]]} for {found[name]!r}{hint}")
    return found


def _owns(own: Mapping[str, Shape], place: str) -> bool:
    """Whether the module has a parameter, or a submodule with parameters, of this name."""
    return any(_in(name, [place]) for name in own)


def _counterpart(name: str, names: Mapping[str, str]) -> str:
    node, _, leaf = name.rpartition(".")
    if name in names:
        return names[name]
    return f"{names[node]}.{leaf}".lstrip(".") if node in names else name


def _in(name: str, places: Collection[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def _bare(shape: Shape) -> Shape:
    """Without the axes of length 1: a dense layer is a convolution with K = 1."""
    return tuple(n for n in shape if n != 1)


def _left_over(missing: Mapping[str, Shape], surplus: Mapping[str, Shape], found: Mapping[str, str]) -> str:
    lines = ["parameters do not match; give names={graph's name: module's name}, or ignore=[…] for what the module never uses"]
    for name, shape in missing.items():
        sought = f" (looked for {found[name]!r})" if found[name] != name else ""
        same = [other for other, size in surplus.items() if _bare(size) == _bare(shape)]
        turned = [other for other, size in surplus.items() if sorted(_bare(size)) == sorted(_bare(shape))]
        if same:
            hint = f"; of this shape: {', '.join(map(repr, same))}"
        elif turned:
            hint = f"; of this shape with its axes in another order: {', '.join(map(repr, turned))}"
        else:
            hint = ""
        lines.append(f"  only in the graph: {name!r} {shape}{sought}{hint}")
    lines += [f"  only in the module: {name!r} {shape}{_composed(name)}" for name, shape in surplus.items()]
    return "\n".join(lines)


def _composed(name: str) -> str:
    """What to do first about a weight that PyTorch makes of other parameters."""
    owner, found, rest = f".{name}".rpartition(".parametrizations.")
    if found:
        weight, owner = rest.partition(".")[0], owner.lstrip(".")
        place = f"module.get_submodule({owner!r})" if owner else "module"
        remove = f"torch.nn.utils.parametrize.remove_parametrizations({place}, {weight!r})"
        return f"; {weight!r} is made of it: {remove} leaves the weight"
    if name.endswith(("_g", "_v")):
        return "; if weight_norm made it: torch.nn.utils.remove_weight_norm leaves the weight"
    return ""
