"""What is fitted along with a source on the images around it: by the same rule as the stage of forced fluxes, for one
source on many images instead of many sources on the images of an epoch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.engine import reading
from contimg_assets.database.forced import of_sources, on_covering_images, place_errors
from contimg_assets.database.models import IN_TOTAL, TABLES
from contimg_assets.database.products_database import ProductsDatabase
from contimg_assets.database.queries import near
from contimg_assets.database.tiles import tiling
from contimg_assets.database.writing.image_coverage import StoredCoverage
from contimg_assets.database.writing.stored import read_images
from contimg_assets.sky.sphere import separation_arcsec

_KEY, _PLACE = ["epoch", "image"], ["ra_deg", "dec_deg"]


@dataclass(frozen=True)
class Surroundings:
    """A source and what is around it.

    Attributes
    ----------
    place : DataFrame
        One row: ra_deg, dec_deg of the first detection, corrected; err_ew_arcsec, err_ns_arcsec; monitored (False).
    undetected : DataFrame
        Other sources on images of epochs that do not detect them in the band: epoch, image, ra_deg, dec_deg, corrected.
    detections : DataFrame
        Of other sources: epoch, image, ra_deg, dec_deg as measured.
    """

    place: pd.DataFrame
    undetected: pd.DataFrame
    detections: pd.DataFrame

    def on(self, image: Mapping[Hashable, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """(undetected, detections) of one image: ra_deg and dec_deg each."""
        both = (self.undetected, self.detections)
        of_image = (rows[(rows["epoch"] == image["epoch"]) & (rows["image"] == image["image"])] for rows in both)
        undetected, detections = (rows[_PLACE].reset_index(drop=True) for rows in of_image)
        return undetected, detections


def surroundings(
    database: ProductsDatabase, source: pd.Series, images: pd.DataFrame, radius_arcsec: float
) -> Surroundings:
    """What is within a radius of a source on each of some images.

    Parameters
    ----------
    database : ProductsDatabase
    source : Series
        A row of SOURCES.
    images : DataFrame
        epoch, image and band of images that cover it.
    radius_arcsec : float
        About the place of its first detection [arcsec].
    """
    ra, dec = float(source["first_ra_deg"]), float(source["first_dec_deg"])
    s, m = TABLES["sources"].c, TABLES["measurements"].c
    first = sa.select(s.id.label("position"), s.first_ra_deg.label("ra_deg"), s.first_dec_deg.label("dec_deg"))
    epochs = list(images["epoch"].unique())
    with reading(database.engine) as connection:
        errors = place_errors(connection, pd.Series([source["id"]], dtype=object).to_numpy())
        places = bulk.fetch(
            connection, first.where(near(s.healpix, ra, dec, radius_arcsec), IN_TOTAL, s.id != source["id"])
        )
        places = _within(places, ra, dec, radius_arcsec)
        seen = _seen(connection, [*places["position"], source["id"]])
        circles = read_images(connection).merge(images[[*_KEY]], on=_KEY)
        covered = on_covering_images(places, circles, StoredCoverage(connection, circles))
        of_image = sa.select(m.epoch, m.image, m.ra_deg, m.dec_deg, m.measurement_id, m.duplicate_of)
        of_epochs = m.epoch.in_(bulk.set_of_ids(connection, epochs))
        of_image = of_image.where(of_epochs, sa.not_(m.forced), near(m.healpix, ra, dec, radius_arcsec))
        detections = bulk.fetch(connection, of_image.order_by(m.epoch, m.image, m.measurement_id))
    own = seen.loc[seen["source_id"] == source["id"], "measurement_id"]
    is_own = detections["measurement_id"].isin(own) | detections["duplicate_of"].isin(own)
    undetected = covered[~_pairs(covered, "position").isin(_pairs(seen, "source_id"))]
    place = pd.DataFrame({"ra_deg": [ra], "dec_deg": [dec], "monitored": False})
    return Surroundings(
        pd.concat([place, errors.reset_index(drop=True)], axis=1),
        undetected[[*_KEY, *_PLACE]],
        _within(detections[~is_own], ra, dec, radius_arcsec)[[*_KEY, *_PLACE]],
    )


def _within(rows: pd.DataFrame, ra_deg: float, dec_deg: float, radius_arcsec: float) -> pd.DataFrame:
    apart = separation_arcsec(rows["ra_deg"], rows["dec_deg"], ra_deg, dec_deg)
    return rows[apart <= radius_arcsec].reset_index(drop=True)


def _seen(connection: Connection, sources: list[str]) -> pd.DataFrame:
    """Detections of sources in all epochs: source_id, epoch, band, measurement_id."""
    a, m = TABLES["associations"].c, TABLES["measurements"].c
    query = of_sources(tiling(connection).same_measurement(), a.source_id, m.epoch, m.band, m.measurement_id)
    return bulk.fetch(connection, query.where(a.source_id.in_(bulk.set_of_ids(connection, sources))))


def _pairs(table: pd.DataFrame, of: str) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[[of, "epoch", "band"]])
