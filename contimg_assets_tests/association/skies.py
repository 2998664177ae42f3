"""Small skies and comparisons that the tests of association share."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from contimg_assets.association import AssociationResult
from contimg_assets.sky.sphere import displaced, positions, unit_vectors


def table(
    ra_deg: Iterable[float],
    dec_deg: Iterable[float],
    sigma_arcsec: float | Sequence[float] = 1.0,
    *,
    epoch: str = "e0",
    ids: Sequence | None = None,
    **columns: object,
) -> pd.DataFrame:
    """Measurements of one epoch with circular errors; ids are made of the epoch and the row."""
    ra, dec = np.array(list(ra_deg), float), np.array(list(dec_deg), float)
    return pd.DataFrame(
        {
            "measurement_id": [f"{epoch}-{k}" for k in range(len(ra))] if ids is None else list(ids),
            "epoch": epoch,
            "ra_deg": ra,
            "dec_deg": dec,
            "uncertainty_ew_arcsec": sigma_arcsec,
            "uncertainty_ns_arcsec": sigma_arcsec,
            **columns,
        }
    )


def scattered(
    ra_deg: np.ndarray, dec_deg: np.ndarray, n_epochs: int, sigma_arcsec: float = 1.0, seed: int = 0
) -> list[pd.DataFrame]:
    """Every position in every epoch, with Gaussian errors."""
    rng = np.random.default_rng(seed)
    tables = []
    for k in range(n_epochs):
        noise = rng.normal(0.0, sigma_arcsec, (2, len(ra_deg)))
        ra, dec = displaced(ra_deg, dec_deg, *noise)
        tables.append(table(ra, dec, sigma_arcsec, epoch=f"e{k}").assign(true_source=np.arange(len(ra_deg))))
    return tables


def offset_table(
    ra_deg: float,
    dec_deg: float,
    offsets_arcsec: Sequence[tuple[float, float]],
    sigma_arcsec: float = 1.0,
    **more: object,
) -> pd.DataFrame:
    """Measurements at (east, north) offsets in arcsec from one position."""
    east, north = np.array(offsets_arcsec, float).reshape(-1, 2).T
    ra, dec = displaced(np.full(len(east), ra_deg), np.full(len(east), dec_deg), east, north)
    return table(ra, dec, sigma_arcsec, **more)


def sources_of(result: AssociationResult | pd.DataFrame) -> Counter:
    """The result as a multiset of sources, each the sorted ids of its measurements, whatever the sources' names."""
    associations = result if isinstance(result, pd.DataFrame) else result.associations
    groups = associations.groupby("source_id")["measurement_id"].agg(lambda ids: tuple(sorted(ids)))
    return Counter(groups)


def rotated(tables: Iterable[pd.DataFrame], matrix: np.ndarray) -> list[pd.DataFrame]:
    """The same sky seen in another frame. Errors are circular, so they stay as they are."""
    result = []
    for each in tables:
        ra, dec = positions(unit_vectors(each["ra_deg"], each["dec_deg"]) @ matrix.T)
        result.append(each.assign(ra_deg=ra, dec_deg=dec))
    return result


def turn_to(from_ra: float, from_dec: float, to_ra: float, to_dec: float, roll_deg: float = 0.0) -> np.ndarray:
    """Rotation matrix that takes one position to another, after a roll about the first."""

    def frame(ra: float, dec: float) -> np.ndarray:
        ra, dec = np.radians(ra), np.radians(dec)
        x = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
        east = np.array([-np.sin(ra), np.cos(ra), 0.0])
        return np.stack([x, east, np.cross(x, east)], axis=1)

    c, s = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    roll = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return frame(to_ra, to_dec) @ roll @ frame(from_ra, from_dec).T
