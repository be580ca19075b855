"""Golden cases as ONNX backend test data, which any runtime can be run on with ONNX's own runner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from onnx import numpy_helper

from refar.arguments.arrays import Array, Arrays
from refar.errors import FileError, GraphError
from refar.files import as_path, check_writable, write_bytes
from refar.golden import OPERATORS, Case, catalogue
from refar.golden.graph_families import graph_of, inputs, parameters
from refar.golden.node_operators import as_graph
from refar.graph.graph import Graph
from refar_export.build import build


def write(path: str | Path, cases: Iterable[Case] | None = None) -> list[str]:
    """Write each operator and network that has a graph into a folder of its own; the names of these folders are returned.

    <case>/model.onnx with the parameters inside, test_data_set_0/input_0.pb (class indices int64, numbers float32), …, and
    output_0.pb. What is expected is rounded to float32 from the exact value. Raises FileError, before anything is written,
    where a file is there already that holds something else.
    """
    folder = as_path(path)
    names, files = [], {}
    for case in catalogue() if cases is None else cases:
        for graph, params, given in _graphs(case):
            name = "test_refar_" + case.id.replace("/", "_").replace("-", "_")
            model = build(graph, {key: np.array(array) for key, array in params.items()}, "full")
            files[folder / name / "model.onnx"] = model.SerializeToString(deterministic=True)
            for n, (port, array) in enumerate(given.items()):
                files[folder / name / "test_data_set_0" / f"input_{n}.pb"] = _tensor(array, port)
            y = case.expected["y"].astype(np.float32)
            files[folder / name / "test_data_set_0" / "output_0.pb"] = _tensor(y, model.graph.output[0].name)
            names.append(name)
    for file, data in files.items():
        check_writable(file)
        if file.exists() and file.read_bytes() != data:
            raise FileError(f"{str(file)!r} holds something else already; choose another folder, or remove it yourself")
    for file, data in files.items():
        write_bytes(file, data)
    return names


def _graphs(case: Case) -> Iterator[tuple[Graph, Arrays, Arrays]]:
    """Graph, parameters and inputs, if the case can be said as a graph."""
    if case.operator == "network":
        yield graph_of(case), parameters(case), inputs(case)
    elif case.operator in OPERATORS and (op := OPERATORS[case.operator].to_op(case.attributes, case.arrays)) is not None:
        try:
            graph, params = as_graph(case, op)
        except GraphError:  # a graph wants more of it, such as channels that colours divide
            return
        yield graph, params, {"x": case.arrays["x"]}


def _tensor(array: Array, name: str) -> bytes:
    return numpy_helper.from_array(np.array(array), name).SerializeToString(deterministic=True)
