"""Whether the errors of forced fluxes hold: sources that do not vary, against what other epochs say of them."""

from __future__ import annotations

import pandas as pd

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.forced import against_other_epochs, written_forced
from contimg_assets.photometry.constants import ErrorFactor, are_comparable, error_factor
from contimg_assets.pipeline.inputs import in_time_order
from contimg_assets.pipeline.stages import FORCED_STAGE
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.schemas.core import frame_of
from contimg_assets.schemas.forced import FORCED_CONSTANTS

# So many fluxes of the newest epochs: the factor is then known to 3 %.
_ENOUGH = 2000
# Errors hold where they are right to so much, beyond what chance may make of the number of fluxes.
ALLOWED, _CHANCE = 0.1, 2.0
_COLUMNS = ("flux", "flux_err", "mean", "other_err", "p_value", "compactness")
_JUDGED = ("flux_err", "mean", "p_value", "compactness")


def constant_fluxes(store: EpochStore, database: ProductsDatabase) -> pd.DataFrame:
    """Forced fluxes of sources of the newest epochs that do not vary: the columns of `against_other_epochs`."""
    found: list[pd.DataFrame] = []
    store = store.at_a_glance()
    for epoch in reversed(in_time_order(written_forced(database), store)):
        record = store.record(FORCED_STAGE.name, epoch)
        if record is None:
            continue
        fluxes = frame_of(store.read_recorded(record, FORCED_CONSTANTS.name))
        if len(fluxes):
            rows = against_other_epochs(database, epoch, fluxes)
            found.append(rows[are_comparable(*(rows[name].to_numpy(float) for name in _JUDGED))])
        if sum(map(len, found)) >= _ENOUGH:
            break
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(_COLUMNS), dtype=float)


def measured_factor(constants: pd.DataFrame) -> ErrorFactor:
    """By which factor the errors of forced fluxes are off, from `constant_fluxes`."""
    flux, flux_err, mean, other_err = (
        constants[name].to_numpy(float) for name in ("flux", "flux_err", "mean", "other_err")
    )
    return error_factor(flux - mean, flux_err, other_err)


def wrong_errors(found: ErrorFactor) -> list[str]:
    """A sentence if errors of forced fluxes do not hold."""
    if not abs(found.factor - 1.0) > ALLOWED + _CHANCE * found.factor_err:
        return []
    what = "small" if found.factor > 1 else "large"
    return [
        f"{found.n} forced fluxes of constant sources scatter by {found.factor:.2f} of their errors, which are too "
        f"{what}; look at the images' artifacts and at the rms maps that images.csv names"
    ]
