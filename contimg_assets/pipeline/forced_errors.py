"""Whether the errors of forced fluxes hold: sources that do not vary, against what other epochs say of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.forced import against_other_epochs, written_forced
from contimg_assets.photometry.constants import ErrorFactor, are_comparable, error_factor
from contimg_assets.pipeline.inputs import in_time_order
from contimg_assets.pipeline.stages import FORCED_STAGE
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.schemas.forced import FORCED_CONSTANTS

# So many fluxes of the newest epochs: the factor is then known to 3 %.
_ENOUGH = 2000
# Errors hold where they are right to so much, beyond what chance may make of the number of fluxes.
ALLOWED, _CHANCE = 0.1, 2.0
_JUDGED = ("flux_err", "mean", "p_value")


def measured_factor(store: EpochStore, database: ProductsDatabase) -> ErrorFactor:
    """By which factor the errors of forced fluxes are off, from constant sources of the newest epochs."""
    found: list[pd.DataFrame] = []
    for epoch in reversed(in_time_order(written_forced(database), store)):
        record = store.record(FORCED_STAGE.name, epoch)
        if record is None:
            continue
        fluxes = store.read_recorded(record, FORCED_CONSTANTS.name).to_pandas()
        if len(fluxes):
            rows = against_other_epochs(database, epoch, fluxes)
            found.append(rows[are_comparable(*(rows[name].to_numpy(float) for name in _JUDGED))])
        if sum(map(len, found)) >= _ENOUGH:
            break
    if not found:
        return ErrorFactor(np.nan, np.nan, 0)
    together = pd.concat(found, ignore_index=True)
    difference = (together["flux"] - together["mean"]).to_numpy(float)
    return error_factor(difference, *(together[name].to_numpy(float) for name in ("flux_err", "other_err")))


def wrong_errors(found: ErrorFactor) -> list[str]:
    """A sentence if errors of forced fluxes do not hold."""
    if not abs(found.factor - 1.0) > ALLOWED + _CHANCE * found.factor_err:
        return []
    what = "small" if found.factor > 1 else "large"
    return [
        f"{found.n} forced fluxes of constant sources scatter by {found.factor:.2f} of their errors, which are too "
        f"{what}; look at the images' artifacts and at the rms maps that images.csv names"
    ]
