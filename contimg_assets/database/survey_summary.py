"""What a products database holds, in few numbers: every image with its correction, how many sources lists would name.

The images are a small table. What is listed depends on every source, so it is counted once for each state of the
database, which `state_version` names; whoever asks often keeps the numbers beside that name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.config import Variability
from contimg_assets.database import bulk
from contimg_assets.database.engine import reading
from contimg_assets.database.models import TABLES
from contimg_assets.database.products_database import ProductsDatabase
from contimg_assets.database.queries import near
from contimg_assets.database.recorded import recomputed_with
from contimg_assets.database.writing.present import count_sources
from contimg_assets.identity.versions import combine_versions, version_of_value

NEEDED = ("epochs", "images", "corrections", "sources", "variability", "reference_catalogs")
# Light curves of fewer points, and fewer light curves, say little of errors.
_LEAST_FREEDOM, _LEAST_SOURCES = 2, 30
_NAMED_AT_ONCE = 500
_OF_IMAGE = (
    "epoch",
    "image",
    "mjd",
    "ra_deg",
    "dec_deg",
    "radius_deg",
    "freq_mhz",
    "rms_mjy_beam",
    "n_rows",
    "n_rejected",
)


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
    median_eta : of the sources that are not listed as variable, over what constant sources have: 1 where the errors of
        fluxes are right; None where there are too few
    n_new : of `ProductsDatabase.new_sources` at the default
    n_new_false : how many of those are expected not to be new; None where nothing tells
    matched : catalogs that have a counterpart of any source; None where nobody counted
    """

    flux_kind: str
    has_peaks: bool
    n_sources: int
    n_judged: int
    n_variables: int
    n_variables_false: float
    median_eta: float | None
    n_new: int
    n_new_false: float | None
    matched: tuple[str, ...] | None = None


def image_corrections(database: ProductsDatabase) -> pd.DataFrame:
    """Every image with all columns of its correction, in the order of observation.

    Returns
    -------
    DataFrame: epoch, image, mjd, ra_deg, dec_deg, radius_deg, freq_mhz, rms_mjy_beam, n_rows, n_rejected, and
        CORRECTIONS
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


def marked_sources(database: ProductsDatabase, parameters: Variability) -> pd.DataFrame:
    """All sources as a map shows them.

    Returns
    -------
    DataFrame: name, id, ra_deg, dec_deg; varies and is_new: whether the lists of variable and new sources name each at
    their defaults
    """
    table = TABLES["sources"]
    with reading(database.engine) as connection:
        found = bulk.fetch(
            connection, sa.select(table.c.name, table.c.id, table.c.ra_deg, table.c.dec_deg).order_by(table.c.id)
        )
    kind = database.flux_kind()
    judged = database.significances(kind)
    varying = judged.loc[judged[f"q_value_{kind}"] <= parameters.max_q, "source_id"]
    new = database.new_sources(parameters=parameters)["id"]
    return found.assign(varies=found["id"].isin(varying), is_new=found["id"].isin(new))


def mapped_sources(
    database: ProductsDatabase,
    varying: Sequence[str],
    new: Sequence[str],
    center: tuple[float, float, float] | None = None,
    at_most: int = 20_000,
) -> pd.DataFrame:
    """Sources as a map of a browser shows them: those that vary and the new ones, and evenly as many others as it can.

    Parameters
    ----------
    varying, new : ids that are marked
    center : ra_deg, dec_deg and radius_deg of the map; all there is if not given
    at_most : others

    Returns
    -------
    DataFrame: as of `marked_sources`
    """
    table = TABLES["sources"]
    columns = [table.c[name] for name in ("name", "id", "ra_deg", "dec_deg")]
    here = sa.true() if center is None else near(table.c.healpix, center[0], center[1], 3600.0 * center[2])
    # Ids are hashes: the first are a fair sample of all.
    some = sa.select(*columns).where(here).order_by(table.c.id).limit(at_most)
    with reading(database.engine) as connection:
        marked = np.unique([*varying, *new])[:at_most].tolist()
        pieces = [marked[start : start + _NAMED_AT_ONCE] for start in range(0, len(marked), _NAMED_AT_ONCE)]
        queries = [some, *(sa.select(*columns).where(table.c.id.in_(piece)) for piece in pieces)]
        parts = [bulk.fetch(connection, query) for query in queries]
    found = pd.concat(parts, ignore_index=True).drop_duplicates("id").sort_values("id", ignore_index=True)
    return found.assign(varies=found["id"].isin(varying), is_new=found["id"].isin(new))


def state_version(database: ProductsDatabase, parameters: Variability) -> str:
    """Version of everything that `listed` depends on, from small tables."""
    epochs, overrides = TABLES["epochs"], TABLES["match_overrides"]
    with reading(database.engine) as connection:
        contents = connection.execute(sa.select(epochs.c.epoch, epochs.c.content_version).order_by(epochs.c.epoch))
        versions = [f"{epoch}={version}" for epoch, version in contents.all()]
        versions += [f"{name}={version}" for name, version in sorted(recomputed_with(connection).items())]
        versions += connection.execute(sa.select(overrides.c.id).order_by(overrides.c.id)).scalars().all()
    # Some parameters change no row, but what is listed.
    return combine_versions(version_of_value(parameters.model_dump(mode="json")), *versions)


def listed(database: ProductsDatabase, parameters: Variability) -> Listed:
    """Count what the lists of variable and new sources name at their defaults."""
    kind = database.flux_kind()
    judged = database.significances(kind)
    q_values = judged[f"q_value_{kind}"]
    varies = (q_values <= parameters.max_q).to_numpy()
    new = database.new_sources(parameters=parameters)
    with reading(database.engine) as connection:
        n_sources = count_sources(connection)
        m = TABLES["measurements"].c
        peaks = sa.select(m.measurement_id).where(m.flux_peak_mjy_beam.is_not(None)).limit(1)
        has_peaks = connection.execute(peaks).first() is not None
        found = sa.select(TABLES["cross_matches"].c.catalog_type).distinct()
        matched = tuple(sorted(connection.execute(found).scalars().all()))
    return Listed(
        flux_kind=kind,
        has_peaks=has_peaks,
        n_sources=n_sources,
        n_judged=judged["source_id"].nunique(),
        n_variables=judged.loc[varies, "source_id"].nunique(),
        # Of those down to the last one, its q-value is the share that is expected to be constant.
        n_variables_false=float(varies.sum() * q_values[varies].max()) if varies.any() else 0.0,
        median_eta=relative_eta(judged.loc[~varies, f"eta_{kind}"], judged.loc[~varies, f"n_{kind}"]),
        n_new=len(new),
        n_new_false=float(new["false_chance"].sum()) if "false_chance" in new else None,
        matched=matched,
    )


def relative_eta(eta: pd.Series, n: pd.Series) -> float | None:
    """Median of eta over its median for constant sources: 1 where errors are right; None without sources to tell.

    Parameters
    ----------
    eta, n : reduced chi squared of each source and its points
    """
    freedom = n.to_numpy(dtype=float) - 1.0
    enough = freedom >= _LEAST_FREEDOM
    if enough.sum() < _LEAST_SOURCES:
        return None
    median_chi2 = 2.0 * scipy.special.gammaincinv(freedom[enough] / 2.0, 0.5)
    return float(np.median(eta.to_numpy(dtype=float)[enough] * freedom[enough] / median_chi2))


def _count(connection: Connection, query: sa.Select[tuple[str]]) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one())
