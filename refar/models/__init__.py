"""Networks of the literature, each built once over `refar.Builder`.

Every function returns a strict graph: y_t models x_t. `models.by_name` finds them for the command line and for files.
"""

from __future__ import annotations

from refar.models.linear_ar import fit_linear_ar, linear_ar
from refar.models.nettoy import nettoy1d, nettoy1d_dilated
from refar.models.registry import NAMES, by_name
from refar.models.tcn import tcn
from refar.models.wavenet import wavenet

__all__ = ["NAMES", "by_name", "fit_linear_ar", "linear_ar", "nettoy1d", "nettoy1d_dilated", "tcn", "wavenet"]
