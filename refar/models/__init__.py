"""Networks of the literature, each built once over `refar.Builder`.

Every function returns a strict graph, in which y_t models x_t without seeing it. `models.by_name` finds them for the command
line and for files.
"""

from __future__ import annotations

from refar.models.gated_pixelcnn import gated_pixelcnn
from refar.models.linear_ar import fit_linear_ar, linear_ar
from refar.models.masked_pixelcnn import masked_pixelcnn
from refar.models.nettoy import nettoy1d, nettoy1d_dilated
from refar.models.pixelcnn import pixelcnn
from refar.models.registry import NAMES, by_name, options_of
from refar.models.tcn import tcn
from refar.models.wavenet import wavenet

__all__ = [
    "NAMES",
    "by_name",
    "fit_linear_ar",
    "gated_pixelcnn",
    "linear_ar",
    "masked_pixelcnn",
    "nettoy1d",
    "nettoy1d_dilated",
    "options_of",
    "pixelcnn",
    "tcn",
    "wavenet",
]
