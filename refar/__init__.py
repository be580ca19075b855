"""refar, the reference for autoregressive convolutions: a NumPy specification, and everything checked against it.

Importing refar imports NumPy, msgspec and safetensors' readers at most; PyTorch, onnx and onnxruntime come with
`refar.torch`, `refar_export` and `refar.runtime`.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from refar import models, ops, quantize
from refar.analysis.blind_spot import blind_spot
from refar.analysis.causality import colour_offsets, is_strict, offsets, receptive_field
from refar.arguments.init import init
from refar.arguments.unrolling import Unrolling
from refar.building.builder import Builder
from refar.building.rewrite import strictify
from refar.building.text import from_json, load, save, to_json
from refar.errors import RefarError
from refar.graph.graph import Graph, Node
from refar.importing import from_nam, from_onnx, from_torch
from refar.oracle.functions import (
    backward,
    block,
    forward,
    initial_state,
    log_marginal,
    log_prob,
    next,
    next_block,
    nll,
    nll_per_position,
    posterior,
    start,
    step,
)
from refar.oracle.program import Program, bind
from refar.oracle.sequence_stream import NOT_READY
from refar.oracle.unroll import unroll, unroll_backward
from refar.rounding.certify import certify, generate

__version__ = "0.1.0"
__all__ = [
    "NOT_READY",
    "Builder",
    "Graph",
    "Node",
    "Program",
    "RefarError",
    "Unrolling",
    "backward",
    "bind",
    "blind_spot",
    "block",
    "certify",
    "colour_offsets",
    "forward",
    "from_json",
    "from_nam",
    "from_onnx",
    "from_torch",
    "generate",
    "init",
    "initial_state",
    "is_strict",
    "load",
    "log_marginal",
    "log_prob",
    "models",
    "next",
    "next_block",
    "nll",
    "nll_per_position",
    "offsets",
    "ops",
    "posterior",
    "quantize",
    "receptive_field",
    "save",
    "start",
    "step",
    "strictify",
    "to_json",
    "unroll",
    "unroll_backward",
]

_SUBMODULES = (
    "conceptual", "conceptual_json", "config", "data", "golden", "images", "noise", "plots", "runtime", "testing", "torch"
)  # fmt: skip

if not TYPE_CHECKING:  # a type checker would take every misspelt name for a module

    def __getattr__(name: str) -> ModuleType:
        """The submodules that are imported on first use, since they may need more than NumPy."""
        if name in _SUBMODULES:
            return importlib.import_module(f"refar.{name}")
        raise AttributeError(f"module 'refar' has no attribute {name!r}")
