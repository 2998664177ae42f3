"""What a products database holds, in few numbers: every image with its correction, how many sources lists would name.

The images are a small table. What is listed depends on every source, so it is counted once for each state of the
database, which `state_version` names; whoever asks often keeps the numbers beside that name.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.config import Variability
from contimg_assets.database import bulk
from contimg_assets.database.engine import reading
from contimg_assets.database.models import TABLES
from contimg_assets.database.products_database import ProductsDatabase
from contimg_assets.database.recorded import recomputed_with
from contimg_assets.identity.versions import combine_versions
from contimg_assets.variability.statistics import VARIABLE_P_VALUE

NEEDED = ("epochs", "images", "corrections", "sources", "variability", "reference_catalogs")
_OF_IMAGE = ("epoch", "image", "mjd", "ra_deg", "dec_deg", "radius_deg", "rms_mjy_beam", "n_rows", "n_rejected")


@dataclass(frozen=True)
class Listed:
    """How many sources lists name, and how many of them are expected to be there by chance.

    Attributes
    ----------
    flux_kind : 'peak' or 'int', by which light curves are judged
    has_peaks : whether any measurement has a peak flux density
    n_sources : all of them
    n_judged : those of two fluxes or more, which can be seen to vary
    n_variables, n_variables_false : of `ProductsDatabase.variables` at the default, and of those constant sources
    n_new : of `ProductsDatabase.new_sources` at the default
    n_new_false : how many of those are expected not to be new; None where nothing tells
    """

    flux_kind: str
    has_peaks: bool
    n_sources: int
    n_judged: int
    n_variables: int
    n_variables_false: float
    n_new: int
    n_new_false: float | None


def image_corrections(database: ProductsDatabase) -> pd.DataFrame:
    """Every image with all columns of its correction, in the order of observation.

    Returns
    -------
    DataFrame: epoch, image, mjd, ra_deg, dec_deg, radius_deg, rms_mjy_beam, n_rows, n_rejected, and CORRECTIONS
    """
    image, correction = TABLES["images"], TABLES["corrections"]
    query = (
        sa.select(
            *(image.c[name] for name in _OF_IMAGE),
            *(column for column in correction.c if column.name not in ("epoch", "image")),
        )
        .join(correction, sa.and_(correction.c.epoch == image.c.epoch, correction.c.image == image.c.image))
        .order_by(image.c.mjd, image.c.epoch, image.c.image)
    )
    with reading(database.engine) as connection:
        return bulk.fetch(connection, query)


def state_version(database: ProductsDatabase, parameters: Variability) -> str:
    """Version of everything that `listed` depends on, from small tables."""
    epochs, overrides = TABLES["epochs"], TABLES["match_overrides"]
    with reading(database.engine) as connection:
        contents = connection.execute(sa.select(epochs.c.epoch, epochs.c.content_version).order_by(epochs.c.epoch))
        versions = [f"{epoch}={version}" for epoch, version in contents.all()]
        versions += [f"{name}={version}" for name, version in sorted(recomputed_with(connection).items())]
        versions += connection.execute(sa.select(overrides.c.id).order_by(overrides.c.id)).scalars().all()
    return combine_versions(parameters.version, *versions)


def listed(database: ProductsDatabase, parameters: Variability) -> Listed:
    """Count what the lists of variable and new sources name at their defaults."""
    kind = database.flux_kind()
    variables = database.variables(p_value=VARIABLE_P_VALUE, kind=kind)
    new = database.new_sources()
    with reading(database.engine) as connection:
        n_sources = _count(connection, sa.select(TABLES["sources"].c.id))
        c = TABLES["variability"].c
        n_judged = _count(
            connection, sa.select(c.source_id).where(c["sample"] == "detections", c[f"eta_{kind}"].is_not(None))
        )
        m = TABLES["measurements"].c
        peaks = sa.select(m.measurement_id).where(m.flux_peak_mjy_beam.is_not(None)).limit(1)
        has_peaks = connection.execute(peaks).first() is not None
    return Listed(
        flux_kind=kind,
        has_peaks=has_peaks,
        n_sources=n_sources,
        n_judged=n_judged,
        n_variables=len(variables),
        n_variables_false=VARIABLE_P_VALUE * n_judged,
        n_new=len(new),
        n_new_false=float(new["false_chance"].sum()) if "false_chance" in new else None,
    )


def _count(connection: Connection, query: sa.Select[tuple[str]]) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one())
