"""Checks every golden case of causal_conv1d with nothing but Python: python check_case.py [FOLDER]"""

import json
import math
import struct
import sys
from pathlib import Path

FORMATS = {"F32": "f", "F64": "d", "I64": "q"}


def load(path):
    """safetensors: the length of the header, the header in JSON, then the numbers, little-endian, the last axis fastest."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    tensors = {}
    for name, about in json.loads(data[8 : 8 + length]).items():
        begin, end = about["data_offsets"]
        count = math.prod(about["shape"])
        tensors[name] = struct.unpack(f"<{count}{FORMATS[about['dtype']]}", data[8 + length + begin : 8 + length + end])
    return tensors


def causal_conv1d(x, w, b, shape, kernel, dilation, groups, strict):
    """y[b,o,t] = b[o] + Σ_{i,k} w[o,i,k] · x[b,i, t - strict - (K-1-k)·dilation], x = 0 before the start."""
    batch, channels, length, outputs = shape
    size = channels // groups
    y = []
    for n in range(batch):
        for o in range(outputs):
            first = o // (outputs // groups) * size
            for t in range(length):
                total = b[o] if b else 0.0
                for i in range(size):
                    for k in range(kernel):
                        s = t - strict - (kernel - 1 - k) * dilation
                        if s >= 0:
                            total += w[(o * size + i) * kernel + k] * x[(n * channels + first + i) * length + s]
                y.append(total)
    return y


def main(folder):
    """Every case of causal_conv1d in the folder; ends at the first that does not hold."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    unit = manifest["units"]["float64"]  # Python computes in float64
    cases = [case for case in manifest["cases"] if case["operator"] == "causal_conv1d"]
    for case in cases:
        tensors = load(folder / case["file"])
        x, w, b = (tensors.get(f"{case['id']}/{name}") for name in "xwb")
        batch, channels, length = case["arrays"]["x"]["shape"]
        outputs, _, kernel = case["arrays"]["w"]["shape"]
        y = causal_conv1d(x, w, b, (batch, channels, length, outputs), kernel, **case["attributes"])
        expected = tensors[f"{case['id']}/y"]
        bound = tensors.get(f"{case['id']}/bound.y", [0] * len(expected))
        for n, (came, right, most) in enumerate(zip(y, expected, bound, strict=True)):
            if not abs(came - right) <= most * unit:
                sys.exit(f"{case['id']}: number {n}: expected {right}, got {came}, may be off by {most * unit}")
        print(case["id"], "holds", "by ==" if case["exact"] else "within its bound")
    print(len(cases), "cases hold")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
