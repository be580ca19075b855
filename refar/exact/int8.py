"""A causal convolution in int8 once more, number by number: what the fast NumPy and onnxruntime are checked against.

The input is quantised by one scale and zero point, the weights by one scale for each output channel, without zero point:

    q(x)     = saturate(round(x / scale) + zero)            0 … 255, halves to even, x / scale rounded to float32
    w        = round(weight / scale_o)                      -64 … 64, scale_o = max |weight[o]| / 64
    y[b,o,t] = scale · scale_o · Σ_{i,k} (q(x[b,i,s]) - zero) · w[o,i,k] + bias[o]

with s as in `refar.ops.Conv1d`; before t = 0 is x = 0, so q(x) - zero is 0. The sum is one of integers, and exact.
Weights have 7 bits: some processors add pairs of products in 16 bits, and 2 · 255 · 64 < 2¹⁵.
Source: ONNX QuantizeLinear and MatMulInteger; Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", arXiv 1712.05877.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS, LARGEST = 255, 64
"""The largest quantised input, and the largest quantised weight."""


def quantize(x: np.float32, scale: np.float32, zero: int) -> int:
    """Quantise the number `x`: QuantizeLinear to uint8. Python rounds halves to even too."""
    return min(max(round(float(x / scale)) + zero, 0), LEVELS)


def quantize_weights(weight_row: NDArray[np.float32]) -> tuple[list[int], np.float32]:
    """Quantise the weights of one output channel: the integers in the order of `weight_row`, and their scale."""
    largest = max((abs(number) for number in weight_row.reshape(-1)), default=np.float32(0))
    scale = largest / np.float32(LARGEST) if largest else np.float32(1)
    return [round(float(number / scale)) for number in weight_row.reshape(-1)], scale


def convolution(
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    scale: np.float32,
    zero: int,
    *,
    dilation: int,
    strict: bool,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the integer sums and y, both (B, O, T), of x (B, I, T), weight (O, I, K), bias (O,); y as exact fractions."""
    (rows, channels, length), (outputs, _, kernel) = x.shape, weight.shape
    sums, y = (np.zeros((rows, outputs, length), object) for _ in range(2))
    for o in range(outputs):
        integers, scale_o = quantize_weights(weight[o])
        for b, t in np.ndindex(rows, length):
            for i, k in np.ndindex(channels, kernel):
                s = t - (kernel - 1 - k) * dilation - strict
                if s >= 0:
                    sums[b, o, t] += (quantize(x[b, i, s], scale, zero) - zero) * integers[i * kernel + k]
            step = Fraction(float(scale)) * Fraction(float(scale_o))
            y[b, o, t] = step * sums[b, o, t] + (0 if bias is None else Fraction(float(bias[o])))
    return sums, y
