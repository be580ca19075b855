"""A walk through the nodes of an ONNX file: what is fixed or follows from shapes is evaluated, the rest goes into the draft."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from refar.arguments.arrays import Array
from refar.importing.draft import GraphDraft
from refar.importing.onnx_call import NodeCall, NodeContext, NodePlace, PerRun, together
from refar.importing.onnx_file import opset_of, said
from refar.importing.onnx_nodes import decoded
from refar.importing.refusal import ImportRefused, refuse
from refar.importing.values import Anything, Constant, Labelled, Runs, StackedValues

NEVER_EVALUATED = {
    "Bernoulli", "Loop", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Scan",
    "SequenceMap",
}  # fmt: skip
"""What is refused even where it is given fixed numbers alone."""


@dataclass
class NodeWalk:
    """What each name of the file stands for. The file holds its real numbers in float64."""

    model: ModelProto
    draft: GraphDraft
    runs: Runs
    known: dict[str, Anything] = field(default_factory=dict)
    untold: dict[str, ImportRefused] = field(default_factory=dict)
    """Outputs that are not taken, each with the error of reading it: a mean beside a norm, indices beside a maximum."""

    def output(self) -> Anything:
        """Walk to the end and return what the model gives."""
        self._through(self.model.graph)
        return self._read(self.model.graph.output[0].name)

    def _read(self, name: str) -> Anything:
        if name in self.untold:
            raise self.untold[name]
        return self.known[name]

    def _through(self, graph: GraphProto) -> None:
        for tensor in graph.initializer:
            self.known[tensor.name] = Constant(numpy_helper.to_array(tensor), (tensor.name,))
        for node in graph.node:
            found = self._taken(node)
            many = found if isinstance(found, tuple) else (found,)
            self.known.update(zip(node.output, many, strict=False))
            self.known.pop("", None)
            place = NodePlace(called(node), said=said(node))
            for name in node.output[len(many) :]:
                what = f"its output {name!r} is read, of which refar has no value: it takes the first alone"
                self.untold[name] = refuse(place, what, "write it out with operators of its own")

    def _taken(self, node: NodeProto) -> Anything:
        """Return what a node gives: one value, or a tuple of its outputs."""
        place = NodePlace(called(node), said=said(node))
        given = tuple(self._read(name) if name else None for name in node.input)
        if node.op_type == "If" and isinstance(given[0], Constant):
            return self._branch(node, bool(given[0].array.all()))
        fixed = not any(isinstance(value, Labelled | StackedValues) for value in given)
        unknown = [value for value in given if value is not None and not isinstance(value, Constant | PerRun)]
        if fixed and not unknown and node.op_type not in NEVER_EVALUATED and not _has_graphs(node):
            return self._evaluated(node, given, place)
        context = NodeContext(self.draft, self.runs, place)
        return decoded(NodeCall(context, node, given, opset_of(self.model)))

    def _branch(self, node: NodeProto, taken: bool) -> Anything:
        """Walk through the branch that is taken at every length, as exporters write a squeeze of an axis of unknown size."""
        name = "then_branch" if taken else "else_branch"
        graph = next(attribute.g for attribute in node.attribute if attribute.name == name)
        self._through(graph)
        return tuple(self._read(output.name) for output in graph.output)

    def _evaluated(self, node: NodeProto, given: tuple[Anything, ...], place: NodePlace) -> Anything:
        """Evaluate a node whose inputs are fixed, or follow from shapes: once, or once for each run."""
        origins = tuple(dict.fromkeys(name for value in given if isinstance(value, Constant) for name in value.origins))
        inputs, outputs = ([ValueInfoProto(name=n) for n in names if n] for names in (node.input, node.output))
        alone = helper.make_graph([node], "one node", inputs, outputs)
        try:
            program = ReferenceEvaluator(alone, opsets={"": opset_of(self.model)})
        except Exception as error:  # of an operator that onnx's own implementation does not have
            raise refuse(place, f"fixed numbers that onnx cannot compute: {error}", "fold constants before the import") from error
        columns = []
        for i in range(len(self.runs.batches) if any(isinstance(value, PerRun) for value in given) else 1):
            columns.append(self._computed(program, node, [_in_run(value, i) for value in given], place))
        return tuple(together(arrays, origins) for arrays in zip(*columns, strict=True))

    def _computed(self, program: ReferenceEvaluator, node: NodeProto, given: list[Array | None], place: NodePlace) -> list[Array]:
        named = {name: array for name, array in zip(node.input, given, strict=True) if array is not None}
        try:
            found = program.run(None, named)
        except Exception as error:  # what numpy or onnx raise says what is wrong with the file
            first = (str(error).splitlines() or [""])[0][:200]
            raise refuse(place, f"fixed numbers that cannot be computed: {type(error).__name__}: {first}") from error
        return [np.asarray(array) for array in found]


def called(node: NodeProto) -> str:
    """Return a name for what a node gives: its first output, as a path of modules without what exporters put behind it."""
    name = next((name for name in node.output if name), node.op_type)
    return name.removesuffix("_output_0").strip("/").replace("/", ".") or node.op_type


def _has_graphs(node: NodeProto) -> bool:
    return any(attribute.HasField("g") for attribute in node.attribute)


def _in_run(value: Anything, i: int) -> Array | None:
    match value:
        case None:
            return None
        case Constant(array):
            return array
        case PerRun(arrays):
            return arrays[i]
        case _:
            raise AssertionError(f"a value of {type(value).__name__}")
