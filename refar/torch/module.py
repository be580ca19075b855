"""A graph as an ordinary `nn.Module`, whose parameters bear refar's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from refar.analysis.facts import facts
from refar.analysis.masks import masks
from refar.analysis.types import Type
from refar.arguments.arrays import Arrays, check_parameters
from refar.arguments.init import init
from refar.errors import GraphError, InputError
from refar.graph.graph import Graph
from refar.torch import lower

Values = Mapping[str, ArrayLike | Tensor]

# What every nn.Module keeps in its own dictionary, such as `training`. Other names, `train` or `forward`, do no harm.
_RESERVED = frozenset(vars(nn.Module()))


class Module(nn.Module):
    """The network that `graph` describes; `state_dict()` has exactly the graph's parameter names.

    `params` are its parameters, arrays or tensors; by default it starts from `refar.init(graph, seed)`. It computes in the
    dtype of its parameters, which is that of `params` (float32 for integers): `.double()` and the like work as usual.
    Weights that a mask hides are held as 0, whatever was given: their gradient is 0, so no optimizer moves them, nor does decay.
    Raises ParameterError for parameters that do not fit, GraphError for a node with a name that PyTorch needs itself.
    """

    def __init__(self, graph: Graph, params: Values | None = None, seed: int = 0) -> None:
        super().__init__()
        self.graph = graph
        found = facts(graph)
        self._types = found.types
        self._sequence, self._conditions = found.sequence, found.conditions
        self._nodes = [(node.name, node.op, node.inputs) for node in graph.nodes]
        # Where the network's input is zero before the start; under layer padding every node is, and nothing is computed there.
        self._sources = {node.name for node in graph.nodes if graph.padding == "input" and node.name in facts(graph).sources}
        self._first = facts(graph).first_position
        self._unread: dict[str, list[str]] = {node.name: [] for node in graph.nodes}
        for name, reader in facts(graph).last_reader.items():
            if reader:
                self._unread[reader].append(name)
        self._owners: dict[str, nn.Module] = {}
        # It follows .double() and .half() even where there is no parameter.
        self._anchor: Tensor
        self.register_buffer("_anchor", torch.zeros(0), persistent=False)
        arrays = _checked(graph, init(graph, seed) if params is None else params)
        common = np.result_type(*arrays.values()) if arrays else np.dtype(np.float32)
        dtype = common if common.kind == "f" else np.dtype(np.float32)
        for name, array in arrays.items():
            self._add(name, nn.Parameter(torch.from_numpy(array.astype(dtype))))
        self.to(_torch_dtype(dtype))

    def _add(self, name: str, parameter: nn.Parameter) -> None:
        """Nest the parameter in submodules named by its parts."""
        node, _, leaf = name.rpartition(".")
        owner: nn.Module = self
        for part in node.split("."):
            if part in _RESERVED:
                raise GraphError(f"node {node!r}: a PyTorch module keeps the name {part!r} for itself; expected another name")
            # Not add_module, which refuses every name that nn.Module has a method for.
            child = owner._modules.get(part)
            if child is None:
                child = owner._modules[part] = nn.Module()
            owner = child
        owner._parameters[leaf] = parameter
        self._owners[node] = owner

    def forward(
        self,
        x: Tensor | Mapping[str, Tensor],
        condition: Tensor | Mapping[str, Tensor] | None = None,
        dropped: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The output for a whole sequence, y_bct, or image, y_bchw; under padding "valid" only positions with a whole window.

        `x` is x_bt (integers) or x_bct, or a mapping of all inputs; `condition` is c_b or c_bc, or a mapping if there are
        several. `dropped` holds what the values of dropouts are multiplied by, by node, as training does; without it they are
        left as they are, in `train()` mode too. Raises InputError for what is missing, surplus or misshapen. Classes out of
        range are found on the CPU, outside torch.compile, where looking costs little.
        """
        return self._evaluate(x, condition, self._unread, dropped)[0][self.graph.output][:, :, self._first :]

    def forward_nodes(
        self, x: Tensor | Mapping[str, Tensor], condition: Tensor | Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The value of every node, by name."""
        return self._evaluate(x, condition, {})[0]

    def forward_everywhere(
        self, x: Tensor | Mapping[str, Tensor], condition: Tensor | Mapping[str, Tensor] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The value of every node, and its value at t < 0, (B, C, 1), where that is not 0 by definition: under input padding."""
        return self._evaluate(x, condition, {})

    def _evaluate(
        self,
        x: Tensor | Mapping[str, Tensor],
        condition: Tensor | Mapping[str, Tensor] | None,
        unread: Mapping[str, Sequence[str]],
        dropped: Mapping[str, Tensor] | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute the nodes in order; after each, let go of the values that `unread` says no later node reads."""
        inputs = self._bind(x, condition)
        dtype = next(self.parameters(), self._anchor).dtype
        values: dict[str, Tensor] = {}
        before: dict[str, Tensor] = {}
        for name, op, sources in self._nodes:
            own = self._owners[name]._parameters if name in self._owners else {}
            classes = self._types[sources[0]].size if sources else 0
            rest = (own.get("weight"), own.get("bias"), classes, dtype)
            args = [values[source] for source in sources] or [inputs[name]]
            values[name] = lower.apply(op, args, [before.get(source) for source in sources], *rest)
            if dropped is not None and name in dropped:
                values[name] = values[name] * dropped[name].to(values[name].dtype)
            if name in self._sources:
                before[name] = inputs[self._sequence].new_zeros(values[name].shape[0], self._types[name].size, 1, dtype=dtype)
            elif self.graph.padding == "input" and self._types[name].timed:
                earlier = [before.get(source, values[source]) for source in sources]
                before[name] = lower.apply(op, earlier, earlier, *rest)
            for done in unread.get(name, ()):
                del values[done]
        return values, before

    @property
    def decoder(self) -> Module:
        """The module itself: what is unrolled and exported."""
        return self

    @property
    def conditions(self) -> tuple[str, ...]:
        """The names of the graph's conditions."""
        return self._conditions

    @property
    def takes_condition(self) -> bool:
        """Whether the graph has conditions."""
        return bool(self._conditions)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As in PyTorch; takes {name: array} too. Raises ParameterError, if strict, for what is missing, surplus or misshapen."""
        if strict:
            _checked(self.graph, state_dict)
        tensors = {name: v if isinstance(v, Tensor) else torch.from_numpy(np.array(v)) for name, v in state_dict.items()}
        for name, mask in masks(self.graph).items():
            if name in tensors and tensors[name].shape == mask.shape:
                tensors[name] = torch.where(torch.tensor(mask, device=tensors[name].device), tensors[name], 0)
        return super().load_state_dict(tensors, strict, assign)

    def arrays(self) -> Arrays:
        """The parameters as arrays of their own, {name: array}, in the graph's order; bfloat16, unknown to NumPy, as float32."""
        state = self.state_dict()
        return {name: _array(state[name]).copy() for name in facts(self.graph).parameters}

    def _bind(self, x: object, condition: object) -> dict[str, Tensor]:
        given: dict[str, Any] = dict(x) if isinstance(x, Mapping) else {self._sequence: x}
        if isinstance(condition, Mapping):
            given.update(condition)
        elif condition is not None:
            if len(self._conditions) != 1:
                expected = f"a mapping with {', '.join(map(repr, self._conditions))}" if self._conditions else "none"
                raise InputError(f"condition: expected {expected}, got a value")
            given[self._conditions[0]] = condition
        names = (self._sequence, *self._conditions)
        for name in given:
            if name not in names:
                raise InputError(f"input {name!r}: the graph has no such input, only {', '.join(map(repr, names))}")
        for name in names:
            if name not in given:
                what = "input" if name == self._sequence else "condition"
                raise InputError(f"{what} {name!r} ({self._types[name]}) is missing")
            _check_tensor(name, given[name], self._types[name])
            if given[name].shape[0] != given[names[0]].shape[0]:
                came = f"{given[name].shape[0]} for {name!r} and {given[names[0]].shape[0]} for {names[0]!r}"
                raise InputError(f"inputs: expected one batch size, got {came}")
            over = [tuple(given[n].shape[len(self._types[n].axes.rstrip("thw")) :]) for n in (name, names[0])]
            if self._types[name].timed and over[0] != over[1]:
                came = " and ".join(f"{' x '.join(map(str, o))} for {n!r}" for o, n in zip(over, (name, names[0]), strict=True))
                raise InputError(f"inputs: expected one number of positions, got {came}")
        return given

    def extra_repr(self) -> str:
        """The numbers of nodes and parameters."""
        return f"{len(self._nodes)} nodes, {sum(p.numel() for p in self.parameters())} parameters, output {self.graph.output!r}"


def _check_tensor(name: str, value: Any, kind: Type) -> None:
    """Only what is known without looking at the data, so that torch.compile sees no branch on data."""
    if not isinstance(value, Tensor):
        raise InputError(f"input {name!r}: expected a tensor with axes {kind.axes}, got {type(value).__name__}")
    if value.ndim != len(kind.axes) or ("c" in kind.axes and value.shape[1] != kind.channels):
        shape = f"{kind.axes} with {kind.channels} channels" if "c" in kind.axes else kind.axes
        raise InputError(f"input {name!r}: expected axes {shape}, got a tensor of shape {tuple(value.shape)}")
    if kind.image and 0 in value.shape[2:]:
        raise InputError(
            f"input {name!r}: expected an image of at least 1 x 1 pixels, got a tensor of shape {tuple(value.shape)}"
        )
    if kind.indexed:
        if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
            raise InputError(f"input {name!r}: expected integers, the class indices, got {value.dtype}")
        if value.device.type == "cpu" and not torch.compiler.is_compiling() and value.numel():
            low, high = (int(bound) for bound in value.aminmax())
            if low < 0 or high >= kind.size:
                raise InputError(f"input {name!r}: expected classes 0..{kind.size - 1}, got {low if low < 0 else high}")
    elif value.is_complex() or value.dtype == torch.bool:
        raise InputError(f"input {name!r}: expected real numbers, got {value.dtype}")


def _checked(graph: Graph, params: Mapping[str, Any]) -> Arrays:
    if isinstance(params, Mapping):
        params = {name: _array(v) if isinstance(v, Tensor) else v for name, v in params.items()}
    checked = check_parameters(facts(graph), params)
    return checked | {name: np.where(mask, checked[name], 0) for name, mask in masks(graph).items()}


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    return torch.from_numpy(np.zeros(0, dtype)).dtype
