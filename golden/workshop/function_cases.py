"""Golden cases of the functions of an element that have an operator each: two of random numbers, and those at the extremes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from refar.golden.node_operators import FUNCTIONS, Attributes
from workshop.draw import Draw, float32
from workshop.making import Draft
from workshop.node_definitions import node_operator
from workshop.pointwise_cases import extreme

ATTRIBUTES: dict[str, tuple[Attributes, Attributes]] = {
    "elu": ({"alpha": 0.75}, {}),
    "clip": ({"low": -0.75, "high": 1.5}, {"low": 0.0, "high": 6.0}),
    "snake": ({"alpha": 0.75}, {"alpha": 2.5}),
}
"""Of the functions that have some: those of the first case and of the extremes, and those of the second."""

WHERE = {
    "softplus": (6.5, 9.0, 12.0, 16.0, -12.0, -30.0),
    "hard_sigmoid": (3.0, -3.0, 3.5, -2.5),
    "hard_swish": (3.0, -3.0, 3.5, -2.5),
}
"""Places at which a function is often written otherwise."""

DEFINITIONS = {
    "elu": ("elu(x_bct, *, alpha=1.0) -> y_bct", "y = x if x > 0 else alpha·(exp(x) - 1); Clevert et al. 2016"),
    "selu": (
        "selu(x_bct) -> y_bct",
        "y = s·x if x > 0 else s·a·(exp(x) - 1), s = 1.0507009873554805, a = 1.6732632423543772; Klambauer et al. 2017",
    ),
    "gelu": ("gelu(x_bct) -> y_bct", "y = ½·x·(1 + erf(x/√2)); Hendrycks and Gimpel 2016"),
    "gelu_tanh": ("gelu_tanh(x_bct) -> y_bct", "y = ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))); Hendrycks and Gimpel 2016"),
    "silu": ("silu(x_bct) -> y_bct", "y = x / (1 + exp(-x)); Elfwing et al. 2018"),
    "softplus": ("softplus(x_bct) -> y_bct", "y = log(1 + exp(x))"),
    "softsign": ("softsign(x_bct) -> y_bct", "y = x / (1 + |x|)"),
    "clip": ("clip(x_bct, *, low=-1.0, high=1.0) -> y_bct", "y = min(max(x, low), high); the derivative at both ends is 0"),
    "hard_sigmoid": (
        "hard_sigmoid(x_bct) -> y_bct",
        "y = min(max(x/6 + ½, 0), 1); the derivative at 3 and -3 is 0; Howard et al. 2019",
    ),
    "hard_swish": (
        "hard_swish(x_bct) -> y_bct",
        "y = x·min(max(x/6 + ½, 0), 1); the derivative is 0 at -3 and 1 at 3; Howard et al. 2019",
    ),
    "mish": ("mish(x_bct) -> y_bct", "y = x·tanh(log(1 + exp(x))); Misra 2020"),
    "sin": ("sin(x_bct) -> y_bct", "y = sin(x)"),
    "snake": ("snake(x_bct, *, alpha=1.0) -> y_bct", "y = x + sin²(alpha·x)/alpha; Ziyin et al. 2020"),
}


def _examples(name: str) -> Callable[[], Iterator[Draft]]:
    first, second = ATTRIBUTES.get(name, ({}, {}))

    def examples() -> Iterator[Draft]:
        for id, attributes, b, c, t in (("plain", first, 2, 3, 7), ("wide", second, 3, 2, 5)):
            draw = Draw(f"{name}/{id}")
            x = draw.reals(b, c, t, scale=2 if id == "plain" else 6)
            if id == "wide":
                x.reshape(-1)[: len(WHERE.get(name, ()))] = float32(WHERE.get(name, ()))
            yield Draft(id, draw.seed, {"x": x, "dy": draw.reals(b, c, t)}, attributes, False)
        draw = Draw(f"{name}/extreme")
        yield Draft("extreme", draw.seed, {"x": extreme(draw, 3, 2, 5), "dy": draw.reals(3, 2, 5)}, first, False)
        if name in ("softplus", "mish", "silu", "gelu", "gelu_tanh", "elu", "selu"):
            draw = Draw(f"{name}/large")
            yield Draft("large", draw.seed, {"x": float32([[[-720]], [[800]]]), "dy": draw.reals(2, 1, 1)}, first, False)

    return examples


FUNCTION_CASES = tuple(node_operator(*DEFINITIONS[name], _examples(name)) for name in FUNCTIONS)
