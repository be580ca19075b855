"""An encoder in a bundle: its file in onnxruntime against the module that it was made from."""

from __future__ import annotations

import numpy as np

from refar.arguments.encoder import EncoderModel
from refar.errors import BackendError
from refar.runtime.bundle import ENCODER

_OFF = 2.0**-12
"""The largest difference that is allowed, relative to the largest number of the module's outputs: 4096 roundings of float32."""


def require_encoder(made: EncoderModel) -> None:
    """Run the file for one example and for all. Raises BackendError where it differs from the module."""
    from refar.runtime.provider import open_session

    encoder = made.encoder
    session = open_session(made.model, ENCODER, "cpu", fallback=False, threads=1)
    allowed = _OFF * float(np.abs(made.wanted).max(initial=0.0))
    for rows in (1, len(made.examples)):
        found = session.run([encoder.condition], {encoder.reads: made.examples[:rows]})[0]
        off = float(np.abs(found - made.wanted[:rows]).max(initial=0.0))
        if found.shape != made.wanted[:rows].shape or not off <= allowed:
            raise BackendError(f"{ENCODER} differs from its module by {off:.2e} for {rows} examples, allowed {allowed:.2e}")
