"""What is matched, as arrays: measurements of images, or sources.

Belongs here: from tables to arrays in the order of the sky. Does not belong here: anything of the catalog.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from contimg_assets.config import Matching
from contimg_assets.errors import InputError
from contimg_assets.sky import sphere
from contimg_assets.sky.arrays import Cells, Flags, Floats, Indices
from contimg_assets.sky.cells import FINEST_ORDER, coarser, healpix_29

# Cells of 3.7 deg, whose sources share a systematic error and, where there are enough, the share of counterparts.
SOURCE_GROUP_ORDER = 4
# Error of a position whose own is missing.
_UNKNOWN_ERROR_ARCSEC = 0.2
_USED_COLUMNS = (
    *("image", "ra_deg", "dec_deg", "uncertainty_ew_arcsec", "uncertainty_ns_arcsec"),
    *("flux_int_mjy", "flux_peak_mjy_beam", "flux_mjy", "freq_mhz", "beam_arcsec", "alpha", "alpha_err", "mjd"),
)


@dataclass(frozen=True)
class Targets:
    """What is matched, in the order of the sky: arrays of shape (n,).

    Attributes
    ----------
    groups, group : what shares an offset and is counted together: an image, or the sources of a cell of the sky
    group_healpix : cell of order 29 about the middle of each group, shape (n_groups,)
    image : a catalog source is the counterpart of at most one target of an image
    alpha, alpha_err : spectral indices from bands of our own, NaN where there is but one
    mjd : when a target was seen there, NaN where that is not known
    """

    ids: pd.Series
    place: Indices  # in the order of the ids
    groups: list[str]
    group: Indices
    group_healpix: Cells
    image: Indices
    ra: Floats
    dec: Floats
    sigma_ew: Floats
    sigma_ns: Floats
    beam: Floats
    freq_mhz: Floats
    flux: Floats
    extended: Flags
    healpix: Cells
    alpha: Floats
    alpha_err: Floats
    mjd: Floats

    def __len__(self) -> int:
        return len(self.ids)


def of_measurements(measurements: pd.DataFrame, images: pd.DataFrame, parameters: Matching) -> Targets:
    """Measurements, in a group an image.

    Raises
    ------
    InputError
        If a measurement's image is not among the images.
    """
    ordered, place, healpix = _along_the_sky(measurements, "measurement_id")
    names = sorted(images["image"].unique())
    by_name = images.drop_duplicates("image").set_index("image").loc[names]
    group = pd.Index(names).get_indexer(ordered["image"])
    if (group < 0).any():
        unknown = ordered["image"].iloc[int(np.argmax(group < 0))]
        raise InputError(f"image {unknown!r} of a measurement is not in the table of images; deliver its manifest row")
    ra, dec = ordered["ra_deg"].to_numpy(float), ordered["dec_deg"].to_numpy(float)

    def optional(column: str) -> Floats:
        return ordered[column].to_numpy(float) if column in ordered else np.full(len(ordered), np.nan)

    integrated, peak = optional("flux_int_mjy"), optional("flux_peak_mjy_beam")
    with np.errstate(divide="ignore", invalid="ignore"):
        extended = integrated / peak > parameters.extended_ratio
    wanted, other = (integrated, peak) if parameters.flux == "int" else (peak, integrated)
    return Targets(
        ids=ordered["measurement_id"],
        place=place,
        groups=names,
        group=group,
        group_healpix=_middles(ra, dec, group, len(names)),
        image=group,
        ra=ra,
        dec=dec,
        sigma_ew=_known_errors(ordered["uncertainty_ew_arcsec"]),
        sigma_ns=_known_errors(ordered["uncertainty_ns_arcsec"]),
        beam=by_name["bmaj_arcsec"].to_numpy(float)[group],
        freq_mhz=by_name["freq_mhz"].to_numpy(float)[group],
        flux=np.where(np.isfinite(wanted), wanted, other),
        extended=extended,
        healpix=healpix,
        alpha=np.full(len(ordered), np.nan),
        alpha_err=np.full(len(ordered), np.nan),
        mjd=by_name["mjd"].to_numpy(float)[group] if "mjd" in by_name else np.full(len(ordered), np.nan),
    )


def of_sources(sources: pd.DataFrame) -> Targets:
    """Sources at their positions, in a group for each cell of the sky of order `SOURCE_GROUP_ORDER`.

    So what is estimated of a group depends on no source outside of its cell.
    """
    ordered, place, healpix = _along_the_sky(sources, "source_id")
    ra, dec = ordered["ra_deg"].to_numpy(float), ordered["dec_deg"].to_numpy(float)
    cells, group = np.unique(coarser(healpix, SOURCE_GROUP_ORDER), return_inverse=True)

    def optional(column: str) -> Floats:
        return ordered[column].to_numpy(float) if column in ordered else np.full(len(ordered), np.nan)

    return Targets(
        ids=ordered["source_id"],
        place=place,
        groups=[str(cell) for cell in cells],
        group=group,
        group_healpix=cells << (2 * (FINEST_ORDER - SOURCE_GROUP_ORDER)),
        image=np.zeros(len(ordered), np.intp),
        ra=ra,
        dec=dec,
        sigma_ew=_known_errors(ordered["uncertainty_ew_arcsec"]),
        sigma_ns=_known_errors(ordered["uncertainty_ns_arcsec"]),
        beam=ordered["beam_arcsec"].to_numpy(float),
        freq_mhz=ordered["freq_mhz"].to_numpy(float),
        flux=optional("flux_mjy"),
        extended=np.zeros(len(ordered), bool),
        healpix=healpix,
        alpha=optional("alpha"),
        alpha_err=optional("alpha_err"),
        mjd=optional("mjd"),
    )


def _middles(ra_deg: Floats, dec_deg: Floats, group: Indices, n_groups: int) -> Cells:
    """Cell of order 29 of the mean direction of each group; of one without members, any."""
    vectors = sphere.unit_vectors(ra_deg, dec_deg).reshape(-1, 3)
    sums = np.stack([np.bincount(group, axis, minlength=n_groups) for axis in vectors.T], axis=1)
    return healpix_29(*sphere.positions(sums))


def _along_the_sky(table: pd.DataFrame, key: str) -> tuple[pd.DataFrame, Indices, Cells]:
    """The columns that matching uses, in an order that only depends on what is in them: by HEALPix cell, then id.

    Neighbors on the sky are neighbors in memory, which searches are faster for. Also each row's place in the order of
    the ids, and its cell.
    """
    ids = table[key].astype("str").reset_index(drop=True)
    place = np.empty(len(ids), np.intp)
    place[np.asarray(ids.argsort(kind="stable"))] = np.arange(len(ids))
    cells = healpix_29(table["ra_deg"].to_numpy(float), table["dec_deg"].to_numpy(float))
    order = np.lexsort((place, cells))
    columns = [name for name in _USED_COLUMNS if name in table.columns]
    ordered = table[columns].reset_index(drop=True).assign(**{key: ids}).take(order).reset_index(drop=True)
    return ordered, place[order], cells[order]


def _known_errors(values: pd.Series) -> Floats:
    errors = values.to_numpy(float)
    return np.where(np.isfinite(errors), errors, _UNKNOWN_ERROR_ARCSEC)
