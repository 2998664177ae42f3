"""An epoch observed in several bands: one fold for each band, so that a source is found once in each.

Within a band each source is measured once an epoch, between bands it is measured again. The finest beam comes first:
what it tells apart, coarser ones find in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd

from contimg_assets.association.fold import FoldResult, FoldRows, fold
from contimg_assets.association.state import FoldState
from contimg_assets.association.tiles import Tiling
from contimg_assets.config import Association, Bands
from contimg_assets.identity.ids import hashes_of
from contimg_assets.ingest.bands import bands_mhz
from contimg_assets.schemas.tables import TableLike, as_frame, require
from contimg_assets.sky.arrays import Hashes, Indices

_SUMS = ("n_measurements", "n_matched", "n_new", "n_forked", "n_related", "n_merged", "n_beyond_reach")


def fold_bands(
    state: FoldState | None,
    measurements: TableLike,
    images: TableLike,
    parameters: Association | None = None,
    bands: Bands | None = None,
    repeats: TableLike | None = None,
    tiling: Tiling | None = None,
) -> FoldResult:
    """Associate one epoch's measurements, each band by itself, with the sources known before it and each other.

    Parameters
    ----------
    state : FoldState or None
        After the previous epoch in time order; None before the first.
    measurements : DataFrame, Table, QTable or pyarrow.Table
        As of `fold`, with ``image``.
    images : DataFrame, Table, QTable or pyarrow.Table
        As of `fold`, with ``image``, ``freq_mhz`` and ``bmaj_arcsec``.
    parameters : contimg_assets.config.Association, optional
        Section `association` of the configuration.
    bands : contimg_assets.config.Bands, optional
        Section `bands`.
    repeats : DataFrame, Table, QTable or pyarrow.Table, optional
        As of `fold`.
    tiling : contimg_assets.association.tiles.Tiling, optional
        As of `fold`; each band is divided by itself.

    Returns
    -------
    FoldResult
        Of the whole epoch. With images of one band it is that of `fold`.

    Raises
    ------
    InputError
        As `fold`, or if a frequency is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> images = pd.DataFrame({"image": ["low", "high"], "freq_mhz": [888.0, 1367.0], "bmaj_arcsec": [20.0, 12.0],
    ...                        "ra_deg": [10.0, 10.0], "dec_deg": [16.0, 16.0], "radius_deg": [1.0, 1.0]})
    >>> seen = pd.DataFrame({"measurement_id": ["a", "b"], "epoch": "night1", "image": ["low", "high"],
    ...                      "ra_deg": [10.0, 10.0001], "dec_deg": 16.0, "uncertainty_ew_arcsec": 0.5,
    ...                      "uncertainty_ns_arcsec": 0.5})
    >>> len(fold_bands(None, seen, images).state), len(fold(None, seen, images=images).state)
    (1, 2)
    """
    measurements, images = as_frame(measurements, "measurements"), as_frame(images, "images")
    require(images, ("image", "freq_mhz", "bmaj_arcsec"), "images")
    band = bands_mhz(images["freq_mhz"], bands)
    beam = pd.Series(images["bmaj_arcsec"].to_numpy(dtype=float)).groupby(band).max()
    in_order = sorted(beam.index, key=lambda one: (beam[one], one))
    if len(in_order) < 2:
        return fold(state, measurements, parameters, images, repeats, tiling)
    of_row = pd.Series(band, index=images["image"].to_numpy()).reindex(measurements["image"]).to_numpy()
    before = FoldState.empty() if state is None else state
    after, results, chosen = before, list[FoldResult](), list[Indices]()
    for one in in_order:
        rows = np.flatnonzero(of_row == one)
        result = fold(after, measurements.iloc[rows], parameters, images[band == one], repeats, tiling)
        after = result.state
        results.append(result)
        chosen.append(rows)
    tile_work = [result.tile_work for result in results if result.tile_work is not None]
    return FoldResult(
        after,
        _together(before, results, chosen, hashes_of(measurements["measurement_id"])),
        pd.concat([result.alignment for result in results], ignore_index=True).sort_values("image", ignore_index=True),
        _diagnostics(results),
        measurements,
        pd.concat(tile_work, ignore_index=True) if tile_work else None,
    )


def _together(
    before: FoldState, results: Sequence[FoldResult], chosen: Sequence[Indices], measurement: Hashes
) -> FoldRows:
    """Rows of the bands in one, in the names of the sources that are there after the last.

    In the order of sources and ``measurement``, that of each row of the whole table: the table may have any order.
    """
    parts = [result.rows for result in results]
    gone, into = _final_names(parts)

    def present(source: Hashes) -> Hashes:
        if not len(gone):
            return source
        at = np.minimum(np.searchsorted(gone, source), len(gone) - 1)
        return np.where(gone[at] == source, into[at], source)

    whole: dict[str, Any] = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(FoldRows)
        if field.name != "copies_history"
    }
    for name in ("row", "fork_row"):
        whole[name] = np.concatenate([rows[getattr(part, name)] for rows, part in zip(chosen, parts, strict=True)])
    for name in ("source", "parent", "child", "related_from", "related_to"):
        whole[name] = present(whole[name])
    own = np.isin(gone, before.source)
    whole |= {"merged": gone[own], "into": into[own]}
    by_source = np.lexsort((measurement[whole["row"]], whole["source"]))
    _sort(whole, ("source", "row", "separation_arcsec", "de_ruiter"), by_source)
    _sort(whole, ("parent", "child", "fork_row"), np.argsort(whole["child"], kind="stable"))
    key = ("related_from", "related_to", "related_kind")
    _sort(whole, key, np.lexsort(tuple(whole[name] for name in reversed(key))))
    pairs = np.stack([whole["related_from"], whole["related_to"]], axis=1)
    first = np.ones(len(pairs), bool)
    first[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    first &= pairs[:, 0] != pairs[:, 1]
    whole |= {name: whole[name][first] for name in key}
    whole["measurement"] = np.sort(whole["measurement"])
    return replace(parts[0], **whole)


def _sort(columns: dict[str, Any], names: Sequence[str], order: Indices) -> None:
    for name in names:
        columns[name] = columns[name][order]


def _final_names(parts: Sequence[FoldRows]) -> tuple[Hashes, Hashes]:
    """Sources that any band merged into others, ascending, and those that stand for them in the end."""
    heir: dict[int, int] = {}
    for part in parts:
        later = dict(zip(part.merged.tolist(), part.into.tolist(), strict=True))
        heir = {source: later.get(one, one) for source, one in heir.items()} | later
    gone = np.array(sorted(heir), dtype=np.uint64)
    return gone, np.array([heir[int(one)] for one in gone], dtype=np.uint64)


def _diagnostics(results: Sequence[FoldResult]) -> dict[str, object]:
    """Counts of all bands together; of sources, those after the last."""
    parts: list[dict[str, Any]] = [result.diagnostics for result in results]
    unseen = [part["n_unmatched_in_coverage"] for part in parts]
    radii = np.concatenate([result.rows.de_ruiter for result in results])
    radii = radii[np.isfinite(radii)]
    histogram = np.sum([part["de_ruiter_histogram"] for part in parts], axis=0)
    return {
        **parts[-1],
        **{name: sum(part[name] for part in parts) for name in _SUMS},
        "n_unmatched_in_coverage": None if None in unseen else sum(unseen),
        "median_de_ruiter": float(np.median(radii)) if len(radii) else None,
        "de_ruiter_histogram": histogram.tolist(),
    }
