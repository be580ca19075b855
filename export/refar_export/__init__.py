"""Networks to ONNX, with their state: `export` writes a bundle that `refar.runtime.load` runs."""

from __future__ import annotations

from refar_export.export import export

__all__ = ["export"]
