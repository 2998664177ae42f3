"""What an image covers and how deep, place by place: its rms map and its footprint to ranges of HEALPix cells.

Belongs here: everything that opens a MOC; `rms_maps` opens the maps. Nothing downstream of `raw_detections` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contimg_assets.errors import InputError
from contimg_assets.sky.arrays import Cells
from contimg_assets.sky.coverage import Coverage, overlaid


def read_coverage(rms_map: Path | None, footprint: Path | str | None, where: str) -> Coverage | None:
    """What an image covers; None where neither file is given.

    Parameters
    ----------
    rms_map : FITS image of the local rms, unit by BUNIT; pixels that are not finite or not above 0 are not covered
    footprint : MOC as FITS, JSON or text file, or as text. Where given it alone says what is covered, and the map how
        deep; where the map is silent the image's own rms holds
    where : the manifest's line, for messages ("images.csv: line 2")

    Raises
    ------
    InputError
        If a file cannot be used or covers nothing.
    """
    if rms_map is None and footprint is None:
        return None
    measured = None if rms_map is None else _of_map(rms_map, f"{where}, column 'rms_map'")
    if footprint is None:
        return measured
    start, end = _of_moc(footprint, f"{where}, column 'footprint'")
    plain = Coverage(start, end, np.full(len(start), np.nan))
    return plain if measured is None else overlaid(plain, measured)


def _of_map(rms_map: Path, where: str) -> Coverage:
    # Loaded with the first map: astropy's coordinates take as long as a small epoch does in all stages together.
    from contimg_assets.ingest.rms_maps import coverage_of_map

    return coverage_of_map(rms_map, where)


def coverage_table(images: list[str], coverages: list[Coverage | None]) -> pd.DataFrame:
    """Table of schema COVERAGE, images in the order of their names."""
    order = [row for row in np.argsort(np.asarray(images, dtype=object)) if coverages[row] is not None]
    parts = [part for row in order if (part := coverages[row]) is not None]
    nothing = np.empty(0, np.int64)
    return pd.DataFrame(
        {
            "image": np.repeat(np.asarray([images[row] for row in order], dtype=object), [len(p.start) for p in parts]),
            "start": np.concatenate([nothing, *(part.start for part in parts)]),
            "end": np.concatenate([nothing, *(part.end for part in parts)]),
            "rms_mjy_beam": np.concatenate([np.empty(0), *(part.rms_mjy_beam for part in parts)]),
        }
    )


def moc_as_text(footprint: Path | str, where: str) -> str:
    """A footprint in MOC's own notation, whatever it was delivered as."""
    return " ".join(str(_moc(footprint, where).to_string()).split())


def _moc(footprint: Path | str, where: str):  # type: ignore[no-untyped-def]  # mocpy has no types
    try:
        from mocpy import MOC
    except ModuleNotFoundError as error:
        raise InputError(f"{where}: footprints need mocpy; pip install 'contimg-assets[footprints]'") from error
    named = "the text" if isinstance(footprint, str) else str(footprint)
    try:
        if isinstance(footprint, Path):
            with footprint.open("rb") as file:
                start = file.read(64).lstrip()
            kind = "fits" if start.startswith(b"SIMPLE") else "json" if start.startswith(b"{") else "ascii"
            return MOC.load(footprint, kind)
        return MOC.from_json(_json(footprint)) if footprint.lstrip().startswith("{") else MOC.from_string(footprint)
    except (ValueError, OSError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise InputError(
            f"{where}: {named} is not a MOC ({reason}); deliver one as FITS, JSON or text such as '6/1-3 7/22', or "
            "leave the column empty"
        ) from error


def _json(text: str) -> dict[str, Any]:
    import json

    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("no JSON object of orders and cells")
    return found


def _of_moc(footprint: Path | str, where: str) -> tuple[Cells, Cells]:
    ranges = np.asarray(_moc(footprint, where).to_depth29_ranges, dtype=np.int64).reshape(-1, 2)
    if not len(ranges):
        raise InputError(f"{where}: the MOC is empty; deliver one that covers something, or leave the column empty")
    return np.ascontiguousarray(ranges[:, 0]), np.ascontiguousarray(ranges[:, 1])
