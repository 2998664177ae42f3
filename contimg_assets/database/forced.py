"""Forced fluxes and the database: which positions are to be measured on the images of an epoch, and their rows.

The rows are as measured; the view `forced_photometry` has them with the corrections that their images have now, so that
a new flux scale writes none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import scipy
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.calibration.apply import apply_corrections
from contimg_assets.database import bulk
from contimg_assets.database.engine import reading, writing
from contimg_assets.database.models import IN_TOTAL, TABLES
from contimg_assets.database.products_database import ProductsDatabase
from contimg_assets.database.queries import images_with_corrections
from contimg_assets.database.tiles import tiling
from contimg_assets.database.writing.epochs import delete_forced
from contimg_assets.database.writing.image_coverage import StoredCoverage
from contimg_assets.database.writing.stored import read_images
from contimg_assets.identity.ids import from_hex, mix
from contimg_assets.photometry.constants import drawn
from contimg_assets.photometry.monitored import monitored_at
from contimg_assets.schemas.association import of_one_source
from contimg_assets.sky.sphere import limit_of, tree_of, unit_vectors
from contimg_assets.variability.new_sources import covering

_FLUXES, _EPOCHS = "forced_fluxes", "forced_epochs"
_ERRORS = ("err_ew_arcsec", "err_ns_arcsec")
_PLACE = ["image", "position", "monitored", "ra_deg", "dec_deg"]


@dataclass(frozen=True)
class EpochPositions:
    """What is to be measured on the images of an epoch.

    Attributes
    ----------
    images : epoch, image, band, mjd, path, center and radius [deg], beam [arcsec, deg], and the other columns of
        CORRECTIONS
    places : image, position, monitored, ra_deg, dec_deg: the first columns of FORCED_FLUXES; err_ew_arcsec,
        err_ns_arcsec: errors of the place, 0 of monitored positions
    detections : image, ra_deg, dec_deg, snr, measurement_id: detections of each image as measured, duplicates among
        them
    constants : as `places`, with measurement_id: sources that each image detects, of which some are measured all the
        same to check the errors, see `photometry.constants`
    """

    images: pd.DataFrame
    places: pd.DataFrame
    detections: pd.DataFrame
    constants: pd.DataFrame


class SurveyPositions:
    """Where the sources of all epochs are: read once, for many epochs.

    A source's place is that of its first detection, corrected: later epochs do not move it, so that what was measured
    there stays.

    Parameters
    ----------
    database : ProductsDatabase
    monitored : DataFrame
        As `photometry.monitored.read_monitored` gives it; may be empty.
    """

    def __init__(self, database: ProductsDatabase, monitored: pd.DataFrame) -> None:
        self._database, self._monitored = database, monitored

    @cached_property
    def sources(self) -> pd.DataFrame:
        """id, ra_deg and dec_deg of the first detection of every source in I, by id."""
        table = TABLES["sources"].c
        query = sa.select(table.id, table.first_ra_deg.label("ra_deg"), table.first_dec_deg.label("dec_deg"))
        with reading(self._database.engine) as connection:
            return bulk.fetch(connection, query.where(IN_TOTAL).order_by(table.id))

    @cached_property
    def _circles(self) -> dict[str, pd.DataFrame]:
        table = TABLES["images"].c
        query = sa.select(table.epoch, table.ra_deg, table.dec_deg, table.radius_deg)
        with reading(self._database.engine) as connection:
            images = bulk.fetch(connection, query)
        return {str(epoch): rows for epoch, rows in images.groupby("epoch", sort=False)}

    @cached_property
    def _marks(self) -> tuple[Any, Any]:
        """A tree of the sources, and a number of each that changes with its id or place."""
        ra, dec = (self.sources[name].to_numpy(dtype=float) for name in ("ra_deg", "dec_deg"))
        ids = from_hex(self.sources["id"].to_numpy(dtype=object))
        return tree_of(unit_vectors(ra, dec)), mix(mix(ids, ra.view(np.uint64)), dec.view(np.uint64))

    def version(self, epoch: str) -> str:
        """Version of the sources within the circles of an epoch's images."""
        circles = self._circles.get(epoch)
        if circles is None or self.sources.empty:
            return ""
        tree, marks = self._marks
        centers = unit_vectors(circles["ra_deg"], circles["dec_deg"])
        chords = [limit_of(radius * 3600.0) for radius in circles["radius_deg"]]
        inside = np.unique(np.concatenate(tree.query_ball_point(centers, chords)).astype(np.intp))
        with np.errstate(over="ignore"):
            return f"{len(inside)}-{int(marks[inside].sum(dtype=np.uint64)):016x}"

    def of(self, epoch: str) -> EpochPositions:
        """What is to be measured on the images of an epoch: every source that it covers and does not detect in the band
        of the image, and every monitored position."""
        with reading(self._database.engine) as connection:
            images = _images(connection, epoch)
            circles = read_images(connection)
            circles = circles[circles["epoch"] == epoch].reset_index(drop=True)
            seen = _seen(connection, epoch)
            found = self.sources.rename(columns={"id": "position"}).assign(monitored=False)
            places = on_covering_images(found, circles, StoredCoverage(connection, circles))
            places = places[~_pairs(places, "position").isin(_pairs(seen, "source_id"))]
            places = places.join(place_errors(connection, places["position"].unique()), on="position")
            parts = [places, *self._monitored_places(connection, circles)]
            detections = _detections(connection, epoch)
            constants = drawn(_single(connection, epoch)).merge(found, left_on="source_id", right_on="position")
            constants = constants.join(place_errors(connection, constants["position"].unique()), on="position")
        together = pd.concat([part[[*_PLACE, *_ERRORS]] for part in parts], ignore_index=True)
        together = together.sort_values(["image", "monitored", "position"])
        return EpochPositions(images, together, detections, constants[[*_PLACE, *_ERRORS, "measurement_id"]])

    def _monitored_places(self, connection: Connection, circles: pd.DataFrame) -> Iterable[pd.DataFrame]:
        if self._monitored.empty:
            return
        # Each image at its own time.
        for row in range(len(circles)):
            here = circles.iloc[[row]].reset_index(drop=True)
            ra, dec = monitored_at(self._monitored, float(here["mjd"].iloc[0]))
            names = {"position": self._monitored["name"].to_numpy(dtype=object), "monitored": True}
            given = dict.fromkeys(_ERRORS, 0.0)
            places = pd.DataFrame({**names, "ra_deg": ra, "dec_deg": dec, **given})
            yield on_covering_images(places, here, StoredCoverage(connection, here))


def _pairs(table: pd.DataFrame, of: str) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[[of, "band"]])


def on_covering_images(places: pd.DataFrame, images: pd.DataFrame, coverage: StoredCoverage) -> pd.DataFrame:
    """A row for each image that covers a place: the columns of the places, epoch, image and band."""
    ra, dec = (places[name].to_numpy(dtype=float) for name in ("ra_deg", "dec_deg"))
    pairs = [(i, j) for i, j, _ in covering(ra, dec, images, coverage)]
    i, j = (np.concatenate([np.empty(0, np.intp), *(pair[k] for pair in pairs)]) for k in (0, 1))
    of_image = images[["epoch", "image", "band"]].iloc[j].reset_index(drop=True)
    return pd.concat([places.iloc[i].reset_index(drop=True), of_image], axis=1)


def place_errors(connection: Connection, sources: npt.NDArray[np.object_]) -> pd.DataFrame:
    """Errors of the first detections of sources, by source; the image's own offset is in them."""
    s, a, m = (TABLES[name].c for name in ("sources", "associations", "measurements"))
    query = (
        sa.select(s.id, m.uncertainty_ew_corr_arcsec, m.uncertainty_ns_corr_arcsec)
        .select_from(TABLES["sources"])
        .join(TABLES["associations"], sa.and_(a.source_id == s.id, a.epoch == s.first_epoch))
        .join(TABLES["measurements"], tiling(connection).same_measurement())
        .where(s.id.in_(bulk.set_of_ids(connection, sources)), m.mjd == s.first_mjd)
        .order_by(s.id, m.measurement_id)
    )
    rows = bulk.fetch(connection, query).drop_duplicates("id").set_index("id").reindex(sources)
    return rows.set_axis(list(_ERRORS), axis=1).fillna(0.0)


def _images(connection: Connection, epoch: str) -> pd.DataFrame:
    image = TABLES["images"].c
    return bulk.fetch(connection, images_with_corrections().where(image.epoch == epoch).order_by(image.image))


def _seen(connection: Connection, epoch: str) -> pd.DataFrame:
    """source_id and band of the sources that an epoch detects."""
    a, m = TABLES["associations"].c, TABLES["measurements"].c
    same = tiling(connection).in_epoch(connection, epoch)
    return bulk.fetch(connection, of_sources(same, a.source_id, m.band).distinct())


def of_sources(same: sa.ColumnElement[bool], *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Columns of detections and of the associations that give them to sources.

    Parameters
    ----------
    same : what joins both, see `Tiling`
    """
    m = TABLES["measurements"].c
    return sa.select(*columns).join_from(TABLES["associations"], TABLES["measurements"], same).where(sa.not_(m.forced))


def _detections(connection: Connection, epoch: str) -> pd.DataFrame:
    m = TABLES["measurements"].c
    columns = (m.image, m.ra_deg, m.dec_deg, m.snr, m.measurement_id)
    how = tiling(connection)
    within = how.within(how.of_epoch(connection, epoch), "measurements")
    query = sa.select(*columns).where(m.epoch == epoch, within, sa.not_(m.forced))
    return bulk.fetch(connection, query.order_by(m.image, m.measurement_id))


def _single(connection: Connection, epoch: str) -> pd.DataFrame:
    """Detections that stand alone, each with its source, the only one of that in the epoch and band."""
    a, m = TABLES["associations"].c, TABLES["measurements"].c
    same = tiling(connection).in_epoch(connection, epoch)
    query = of_sources(same, m.image, m.measurement_id, m.snr, m.band, a.source_id, a.copied)
    rows = bulk.fetch(connection, query.where(m.duplicate_of.is_(None), sa.not_(m.has_siblings)))
    alone = rows.drop(columns="copied").merge(of_one_source(rows), on=["source_id", "measurement_id"])
    return alone.drop_duplicates(["source_id", "band"], keep=False)


def against_other_epochs(database: ProductsDatabase, epoch: str, fluxes: pd.DataFrame) -> pd.DataFrame:
    """Forced fluxes at detected sources beside the mean flux of each in the other epochs of its band.

    Parameters
    ----------
    database : ProductsDatabase
    epoch : str
    fluxes : DataFrame
        Schema FORCED_CONSTANTS, of the epoch.

    Returns
    -------
    DataFrame
        Of trusted images, with means of trusted detections: ``flux``, ``flux_err`` (corrected), ``mean``,
        ``other_err``: of the mean and of the scale between images [mJy/beam]; ``p_value``: the chance that the source
        scatters as it does in the other epochs if it is constant, 1 where there is but one; ``compactness`` of the
        source.
    """
    with reading(database.engine) as connection:
        corrections = _images(connection, epoch)
        rows = fluxes[(fluxes["reason"] == "") & fluxes["image"].isin(corrections["image"])]
        sources = rows["position"].unique()
        points = _other_points(connection, epoch, sources)
        s = TABLES["sources"].c
        query = sa.select(s.id, s.compactness).where(s.id.in_(bulk.set_of_ids(connection, sources)))
        compactness = bulk.fetch(connection, query).set_index("id")["compactness"].astype(float)
    corrected = apply_corrections(rows, corrections)
    corrected = corrected[corrected["trusted"].astype(bool)].merge(corrections[["image", "band"]], on="image")
    scale = points["flux_scale_err"].fillna(0.0) * points["flux_peak_corr_mjy_beam"]
    weight = (points["flux_peak_err_corr_mjy_beam"] ** 2 + scale**2) ** -1.0
    flux = points["flux_peak_corr_mjy_beam"]
    sums = points.assign(n=1, weight=weight, sum=weight * flux, squares=weight * flux**2)
    sums = sums.groupby(["source_id", "band"])[["n", "weight", "sum", "squares"]].sum()
    found = corrected.merge(sums, left_on=["position", "band"], right_index=True)
    mean = found["sum"] / found["weight"]
    chi_squared = (found["squares"] - found["sum"] * mean).clip(lower=0.0)
    own = found["flux_scale_err"].fillna(0.0) * mean
    return pd.DataFrame(
        {
            "flux": found["flux_peak_corr_mjy_beam"],
            "flux_err": found["flux_peak_err_corr_mjy_beam"],
            "mean": mean,
            "other_err": np.sqrt(1.0 / found["weight"] + own**2),
            "p_value": np.where(found["n"] > 1, scipy.special.chdtrc(found["n"] - 1, chi_squared), 1.0),
            "compactness": compactness.reindex(found["position"]).to_numpy(),
        }
    ).reset_index(drop=True)


def _other_points(connection: Connection, epoch: str, sources: npt.NDArray[np.object_]) -> pd.DataFrame:
    """Trusted detections of sources in other epochs."""
    a, m = TABLES["associations"].c, TABLES["measurements"].c
    columns = (a.source_id, m.band, m.flux_peak_corr_mjy_beam, m.flux_peak_err_corr_mjy_beam, m.flux_scale_err)
    of_others = a.source_id.in_(bulk.set_of_ids(connection, sources)), a.epoch != epoch
    good = m.trusted, m.duplicate_of.is_(None), m.flux_peak_corr_mjy_beam.is_not(None)
    same = tiling(connection).same_measurement()
    return bulk.fetch(connection, of_sources(same, *columns).where(*of_others, *good))


def written_forced(database: ProductsDatabase) -> dict[str, tuple[str, str]]:
    """Which versions of `forced_photometry`, and which code, the forced fluxes of each epoch are from; nothing where
    there is no database yet, or one of an older version."""
    if database.current() is None or not database.holds(_EPOCHS):
        return {}
    table = TABLES[_EPOCHS].c
    with reading(database.engine) as connection:
        rows = connection.execute(sa.select(table.epoch, table.version, table.code_version)).all()
    return {row.epoch: (row.version, row.code_version) for row in rows}


def write_forced(database: ProductsDatabase, epochs: Mapping[str, tuple[str, pa.Table]], code: str) -> None:
    """Replace the forced fluxes of epochs, all or none.

    Parameters
    ----------
    epochs : by name, the version and the table of FORCED_FLUXES; without rows the epoch has none
    code : version of what writes
    """
    with writing(database.engine) as connection:
        for epoch, (version, rows) in epochs.items():
            delete_forced(connection, epoch)
            bulk.insert(connection, TABLES[_EPOCHS], _record(epoch, version, code))
            named = rows.append_column("epoch", pa.repeat(pa.scalar(epoch), rows.num_rows))
            bulk.insert(connection, TABLES[_FLUXES], named)


def _record(epoch: str, version: str, code: str) -> pd.DataFrame:
    return pd.DataFrame({"epoch": [epoch], "version": [version], "code_version": [code]})
