"""Names for the kinds of arrays that functions take and give. Nothing is computed here."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
# Whether each row is chosen, covered, usable ...
Flags = npt.NDArray[np.bool_]
# Rows of other arrays.
Indices = npt.NDArray[np.intp]
# Nested HEALPix cells; of order 29 where a name ends in _29.
Cells = npt.NDArray[np.int64]
# Ids as numbers: see `contimg_assets.identity.ids`.
Hashes = npt.NDArray[np.uint64]
# Of any type.
Values = npt.NDArray[Any]
