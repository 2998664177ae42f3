"""An epoch's folder to its images, detections, rejected rows and coverage (stage `raw_detections`).

Sources are made from positive detections in Stokes I. All others, those in other Stokes parameters and negative ones in
I, are kept in tables of their own, so that nothing downstream takes them for sources by mistake.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.config import STOKES_I, Config, Ingest
from contimg_assets.errors import InputError
from contimg_assets.identity.ids import free_hashes, measurement_hashes, to_hex_text
from contimg_assets.ingest.checks import rejections_within_limits
from contimg_assets.ingest.delivered import FROM_IMAGE, NO_CATALOG, DeliveredCatalog, no_detections, read_delivered
from contimg_assets.ingest.footprints import coverage_table, moc_as_text, read_coverage
from contimg_assets.ingest.manifest import Manifest, nearest_known, read_manifest
from contimg_assets.ingest.manifest_text import MANIFEST
from contimg_assets.ingest.rows import Field, broken_lines, check_rows, rejected_table
from contimg_assets.schemas.core import BOOL, FLOAT, INT, TEXT, Column, frame_of
from contimg_assets.schemas.detections import COVERAGE, DETECTIONS, IMAGES, OTHER_DETECTIONS, OTHER_IMAGES, REJECTED
from contimg_assets.sky.arrays import Flags, Floats, Hashes, Indices, Values
from contimg_assets.sky.coverage import Coverage

_LOG = logging.getLogger(__name__)
_WORKERS = min(4, os.cpu_count() or 1)
_Columns: TypeAlias = dict[str, Values | pa.Array]


@dataclass(frozen=True)
class EpochDetections:
    """What an epoch's folder holds.

    Parameters
    ----------
    images, detections, rejected, coverage : schemas IMAGES, DETECTIONS, REJECTED, COVERAGE; detections sorted by
        measurement_id
    ignored_columns : "format: column" of all columns that no reader asked for
    unlisted_files : files of the folder that the manifest does not name
    unknown_columns : columns of the manifest that mean nothing here
    other_images, other_detections : schemas OTHER_IMAGES, OTHER_DETECTIONS: what makes no sources
    """

    images: pd.DataFrame
    detections: pd.DataFrame
    rejected: pd.DataFrame
    coverage: pd.DataFrame
    ignored_columns: tuple[str, ...] = ()
    unlisted_files: tuple[str, ...] = ()
    unknown_columns: tuple[str, ...] = ()
    other_images: pd.DataFrame = field(default_factory=OTHER_IMAGES.empty)
    other_detections: pd.DataFrame = field(default_factory=OTHER_DETECTIONS.empty)

    @property
    def all_images(self) -> pd.DataFrame:
        """The images in all Stokes parameters."""
        return pd.concat([self.images, self.other_images[IMAGES.names]], ignore_index=True)

    @property
    def all_detections(self) -> pd.DataFrame:
        """The accepted rows of all images."""
        if self.other_detections.empty:
            return self.detections
        return pd.concat([self.detections, self.other_detections[DETECTIONS.names]], ignore_index=True)


def read_epoch(folder: Path, epoch: str, config: Config, *, enforce_limits: bool = True) -> EpochDetections:
    """Read all catalogs of an epoch.

    Parameters
    ----------
    folder : the epoch's folder, with `images.csv`
    epoch : its name, which measurement ids are made from
    config : sections `ingest` and `paths` are read
    enforce_limits : whether too many rejected rows raise; False to check them later

    Raises
    ------
    InputError
        If the manifest or a file cannot be used, or more rows are rejected than the configuration allows. The message
        names file, line or column, and the cure.
    """
    manifest = read_manifest(folder, config)
    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        jobs = [pool.submit(_read_image, manifest, row, epoch, config) for row in range(len(manifest.images))]
        try:
            parts = [job.result() for job in jobs]
        finally:
            for job in jobs:
                job.cancel()
    result = _assemble(manifest, parts)
    if not config.ingest.allow_same_content:
        _refuse_repeated_images(manifest, result.all_detections)
    if enforce_limits:
        problems = rejections_within_limits(result.all_images, result.rejected, config.ingest)
        if problems:
            raise InputError("\n".join(f"{folder / problem}" for problem in problems))
    _report(epoch, result)
    return result


# So few rows may be equal by chance: where positions and fluxes are rounded, and there is one bright source.
_FEWEST_ALIKE = 5
_SAME = ("ra_deg", "dec_deg", "flux_peak_mjy_beam", "flux_int_mjy", "snr")


def _refuse_repeated_images(manifest: Manifest, detections: pd.DataFrame) -> None:
    """Raise InputError if two images of the epoch have the same rows, under whatever names and in whatever order."""
    rows = pd.util.hash_pandas_object(detections[list(_SAME)], index=False).to_numpy()
    images, names = pd.factorize(detections["image"])
    # A sum does not depend on the order; of 64-bit hashes it is the same for the same rows alone.
    sums = np.zeros(len(names), np.uint64)
    np.add.at(sums, images, rows)
    alike = pd.DataFrame({"image": names, "n": np.bincount(images, minlength=len(names)), "sum": sums})
    alike = alike[alike["n"] >= _FEWEST_ALIKE]
    line = manifest.images.set_index("image")["line"]
    alike = alike.assign(line=line.reindex(alike["image"]).to_numpy()).sort_values("line")
    again = alike[alike.duplicated(["n", "sum"])]
    if len(again):
        second = again.iloc[0]
        first = alike[(alike["n"] == second["n"]) & (alike["sum"] == second["sum"])].iloc[0]
        raise InputError(
            f"{manifest.file}: line {second['line']}: image {second['image']!r} has the same {second['n']} rows as "
            f"image {first['image']!r} of line {first['line']}; list each image once, or set "
            "ingest.allow_same_content if both are meant"
        )


@dataclass
class _Image:
    """One image's accepted rows by column, those of them that are negative detections in Stokes I and are kept apart,
    its rejected rows, and what became known of it."""

    format: str
    stokes: str
    ignored: tuple[str, ...]
    columns: _Columns
    negative: _Columns
    rejected: pd.DataFrame
    n_rows: int
    rms_mjy_beam: float
    coverage: Coverage | None
    footprint: str | None


def _read_image(manifest: Manifest, row: int, epoch: str, config: Config) -> _Image:
    image = manifest.rows[row]
    catalog = _catalog_of(manifest, row, config)
    field = Field(*(float(image[c]) for c in ("ra_deg", "dec_deg", "radius_deg", "bmaj_arcsec", "bmin_arcsec")))
    accepted, faults = check_rows(catalog, field, config.ingest)
    rejected = rejected_table(image["image"], image["catalogue"], faults, broken_lines(catalog))
    rows = catalog.rows
    n_rows = len(rows) + len(rows.delivered.broken)
    columns = _accepted_columns(catalog, accepted, epoch, image["image"])
    rms = image["rms_mjy_beam"]
    if np.isnan(rms):
        rms = _median_rms(columns)
        if not rms > 0:
            raise InputError(
                f"{manifest.file}: line {image['line']} (image {image['image']}): column "
                "'rms_mjy_beam' is missing and the catalog has no local rms; add it to the manifest"
            )
    where = f"{manifest.file}: line {image['line']}"
    coverage = read_coverage(manifest.rms_maps[row], manifest.footprints[row], where)
    given = manifest.footprints[row]
    moc = None if given is None else moc_as_text(given, f"{where}, column 'footprint'")
    columns, negative = _without_negative(columns, image["stokes"], config.ingest)
    return _Image(
        catalog.format, image["stokes"], catalog.ignored, columns, negative, rejected, n_rows, float(rms), coverage, moc
    )


def _without_negative(columns: _Columns, stokes: str, parameters: Ingest) -> tuple[_Columns, _Columns]:
    """The accepted rows that may make sources, and the negative detections in Stokes I, which are artefacts.

    A flux that was measured at a given position may well be negative: that says that nothing is there.
    """
    n = len(columns["ra_deg"])
    negative = np.zeros(n, bool)
    if stokes == STOKES_I and not parameters.negative_sources:
        flux = np.full(n, np.nan)
        for name in ("flux_peak_mjy_beam", "flux_int_mjy"):
            flux = np.where(np.isnan(flux), np.asarray(columns.get(name, flux), float), flux)
        negative = (flux < 0) & ~np.asarray(columns["forced"], bool)
    if not negative.any():
        return columns, {}
    return _rows_of(columns, ~negative), _rows_of(columns, negative)


def _rows_of(columns: _Columns, chosen: Flags) -> _Columns:
    keep = pa.array(chosen)
    return {
        name: values[chosen] if isinstance(values, np.ndarray) else values.filter(keep)
        for name, values in columns.items()
    }


def _catalog_of(manifest: Manifest, row: int, config: Config) -> DeliveredCatalog:
    """An image's catalog, with as many rows as the manifest may state."""
    image, file = manifest.rows[row], manifest.catalogs[row]
    stated = image["n_detections"]
    if file is None or (stated == 0 and not file.stat().st_size):
        return no_detections(file or manifest.file, FROM_IMAGE if np.isnan(stated) else NO_CATALOG)
    catalog = read_delivered(file, image["format"], config.ingest)
    n_rows = len(catalog.rows) + len(catalog.rows.delivered.broken)
    if not np.isnan(stated) and stated != n_rows:
        raise InputError(
            f"{manifest.file}: line {image['line']}, column 'n_detections': {stated:g} are stated, but "
            f"{image['catalogue']} has {n_rows} rows; correct the number, or deliver the catalog again"
        )
    return catalog


def _median_rms(columns: _Columns) -> float:
    values = np.asarray(columns.get("local_rms_mjy_beam", np.empty(0)), dtype=float)
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else np.nan


def _accepted_columns(catalog: DeliveredCatalog, accepted: Flags, epoch: str, image: str) -> _Columns:
    """The accepted rows in the columns of DETECTIONS that the file has, with identifiers."""
    rows = catalog.rows
    everything = bool(accepted.all())
    keep = pa.array(accepted)
    numbers = {
        ours: values if everything else values[accepted] for ours, values in rows.numbers.items() if ours[0] != "_"
    }
    texts = {
        ours: values if everything else values.filter(keep) for ours, values in rows.texts.items() if ours[0] != "_"
    }
    n = int(accepted.sum())
    columns: _Columns = {**numbers, **texts}
    columns["ra_deg"] = np.where(numbers["ra_deg"] == 360.0, 0.0, numbers["ra_deg"])
    columns["line"] = rows.delivered.lines if everything else rows.delivered.lines[accepted]
    columns["measurement_id"] = measurement_hashes(epoch, image, texts["component_id"].to_pandas())
    columns["snr"] = _signal_to_noise(numbers, n)
    columns["has_siblings"] = _siblings(texts, n)
    columns["flags"] = np.nan_to_num(numbers.get("flags", np.zeros(n))).astype(np.int64)
    columns["forced"] = (
        _truth(texts["forced"]) if "forced" in texts else np.broadcast_to(rows.forced, len(rows))[accepted].copy()
    )
    return columns


def _signal_to_noise(numbers: dict[str, Floats], n: int) -> Floats:
    """Peak over local rms, else as delivered."""
    nothing = np.full(n, np.nan)
    delivered = numbers.get("snr", nothing)
    with np.errstate(divide="ignore", invalid="ignore"):
        measured = numbers.get("flux_peak_mjy_beam", nothing) / numbers.get("local_rms_mjy_beam", nothing)
    return np.where(np.isfinite(measured), measured, delivered)


def _siblings(texts: dict[str, pa.Array], n: int) -> Flags:
    """As delivered, else whether the island has other components."""
    if "island_id" in texts:
        codes = np.asarray(pc.fill_null(texts["island_id"].dictionary_encode().indices, -1))
        shared: Flags = (codes >= 0) & (np.bincount(codes[codes >= 0], minlength=1)[np.maximum(codes, 0)] > 1)
    else:
        shared = np.zeros(n, bool)
    if "has_siblings" not in texts:
        return shared
    return np.where(np.asarray(pc.is_null(texts["has_siblings"])), shared, _truth(texts["has_siblings"]))


def _truth(texts: pa.Array) -> Flags:
    truth = pc.is_in(pc.utf8_lower(texts), pa.array(["true", "1", "1.0", "t", "yes", "y"]))
    return np.asarray(pc.fill_null(truth, False))


def _assemble(manifest: Manifest, parts: Sequence[_Image]) -> EpochDetections:
    images = manifest.images.rename(columns={"mjd_mid": "mjd"})
    images["format"] = [part.format for part in parts]
    images["rms_mjy_beam"] = [part.rms_mjy_beam for part in parts]
    images["n_rows"] = [part.n_rows for part in parts]
    images["n_rejected"] = [len(part.rejected) for part in parts]
    images["footprint"] = pd.Series([part.footprint for part in parts], dtype=object)
    total = (images["stokes"] == STOKES_I).to_numpy()
    own = [part for part in parts if part.stokes == STOKES_I]
    names = list(images["image"][total])
    coverage = coverage_table(names, [part.coverage for part in own])
    rejected = [part.rejected for part in parts if len(part.rejected)]
    ignored = sorted({f"{part.format}: {name}" for part in parts for name in part.ignored})
    others = _other_detections(list(images["image"]), parts)
    by_name = images.sort_values("image", kind="stable")
    other_images = by_name[by_name["stokes"] != STOKES_I]
    return EpochDetections(
        frame_of(IMAGES.to_arrow(by_name.loc[by_name["stokes"] == STOKES_I, IMAGES.names])),
        _detections(names, [part.columns for part in own]),
        frame_of(REJECTED.to_arrow(_sorted(pd.concat(rejected, ignore_index=True)))) if rejected else REJECTED.empty(),
        frame_of(COVERAGE.to_arrow(coverage)),
        tuple(ignored),
        manifest.unlisted,
        manifest.unknown,
        frame_of(OTHER_IMAGES.to_arrow(other_images[OTHER_IMAGES.names])),
        others,
    )


def _other_detections(names: Sequence[str], parts: Sequence[_Image]) -> pd.DataFrame:
    """Rows that make no sources: of other Stokes parameters than I, and the negative ones of I."""
    of_image = [(name, part.stokes, part.columns) for name, part in zip(names, parts, strict=True)]
    kept = [(name, stokes, columns) for name, stokes, columns in of_image if stokes != STOKES_I]
    kept += [(name, STOKES_I, part.negative) for name, part in zip(names, parts, strict=True) if part.negative]
    if not kept:
        return OTHER_DETECTIONS.empty()
    table = _detections([name for name, _, _ in kept], [columns for _, _, columns in kept])
    stokes_of = {name: stokes for name, stokes, _ in kept}
    table["stokes"] = table["image"].map(stokes_of).astype(object)
    return frame_of(OTHER_DETECTIONS.to_arrow(table))


def _sorted(rejected: pd.DataFrame) -> pd.DataFrame:
    return rejected.sort_values(["image", "line"], kind="stable", ignore_index=True)


def _detections(names: list[str], parts: Sequence[_Columns]) -> pd.DataFrame:
    """All images' rows as one table, sorted by measurement_id; the parts are emptied on the way, to hold rows once."""
    counts = [len(part["ra_deg"]) for part in parts]
    hashes = np.concatenate([np.asarray(part.pop("measurement_id"), np.uint64) for part in parts])
    order = np.argsort(hashes)
    if (hashes[order[1:]] == hashes[order[:-1]]).any():
        hashes = _told_apart(hashes, parts)
        order = np.argsort(hashes)

    def joined(column: Column) -> pd.Series | Values:
        pieces = [part.pop(column.name, None) for part in parts]
        if column.name == "measurement_id":
            ids: pd.Series = to_hex_text(hashes[order]).to_pandas()
            return ids
        if column.name == "image":
            codes = np.repeat(np.arange(len(names), dtype=np.int32), counts)
            images: pd.Series = pa.array(names, pa.string()).take(pa.array(codes[order])).to_pandas()
            return images
        if column.type == TEXT:
            texts: pd.Series = _joined_text(pieces, counts, order).to_pandas()
            return texts
        kind = {FLOAT: np.float64, INT: np.int64, BOOL: np.bool_}[column.type]
        values = _joined_numbers(pieces, counts, order, kind)
        # Arrow keeps what is freed for itself; the next column needs it.
        del pieces
        pa.default_memory_pool().release_unused()
        return values

    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        values = list(pool.map(joined, DETECTIONS))
    return pd.DataFrame(dict(zip(DETECTIONS.names, values, strict=True)), copy=False)


def _told_apart(hashes: Hashes, parts: Sequence[_Columns]) -> Hashes:
    """Ids of which no two are equal, whatever the order of rows in the files."""
    names = np.concatenate([np.asarray(part["component_id"], dtype=str) for part in parts])
    image = np.repeat(np.arange(len(parts)), [len(part["ra_deg"]) for part in parts])
    by_name = np.lexsort((names, image))
    told = hashes.copy()
    told[by_name] = free_hashes(hashes[by_name], np.empty(0, np.uint64))
    return told


def _joined_text(pieces: Sequence[Values | pa.Array | None], counts: Sequence[int], order: Indices) -> pa.Array:
    if all(piece is None for piece in pieces):
        return pa.nulls(sum(counts), pa.string())
    there = [pa.nulls(n, pa.string()) if piece is None else piece for piece, n in zip(pieces, counts, strict=True)]
    return pa.concat_arrays(there).take(pa.array(order))


def _joined_numbers(
    pieces: Sequence[Values | pa.Array | None],
    counts: Sequence[int],
    order: Indices,
    kind: type[np.float64] | type[np.int64] | type[np.bool_],
) -> Values:
    missing = np.nan if kind is np.float64 else 0
    if all(piece is None for piece in pieces):
        return np.full(sum(counts), missing, kind)
    there = [
        np.full(n, missing, kind) if piece is None else np.asarray(piece, kind)
        for piece, n in zip(pieces, counts, strict=True)
    ]
    return np.concatenate(there)[order]


def _report(epoch: str, result: EpochDetections) -> None:
    if result.ignored_columns:
        _LOG.info(
            "epoch %s: columns that no reader asked for are ignored: %s", epoch, ", ".join(result.ignored_columns)
        )
    if result.unlisted_files:
        _LOG.warning("epoch %s: not in %s, hence not read: %s", epoch, MANIFEST, ", ".join(result.unlisted_files))
    negative = result.other_detections[result.other_detections["stokes"] == STOKES_I]
    if len(negative):
        _LOG.warning(
            "epoch %s: %d negative detections in Stokes I are kept apart as artefacts, and make no sources "
            "(ingest.negative_sources lets them), most of them in %s",
            epoch,
            len(negative),
            negative["image"].value_counts().index[0],
        )
    if result.unknown_columns:
        _LOG.warning(
            "epoch %s: columns of %s that are not known are ignored: %s",
            epoch,
            MANIFEST,
            ", ".join(map(nearest_known, result.unknown_columns)),
        )
    empty = result.images.loc[(result.images["n_rows"] == 0) & (result.images["format"] != NO_CATALOG), "catalogue"]
    if len(empty):
        _LOG.warning("epoch %s: catalogs without any row: %s", epoch, ", ".join(empty))
