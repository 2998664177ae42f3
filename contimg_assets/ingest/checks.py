"""Whether nothing was lost: plain functions that the blocking asset checks call.

Each returns sentences, one a problem, and none if all is well.
"""

from __future__ import annotations

import pandas as pd

from contimg_assets.config import Ingest
from contimg_assets.ingest.readers.cirada import BY_FLAGS
from contimg_assets.schemas.tables import stand_among


def rows_add_up(images: pd.DataFrame, detections: pd.DataFrame, rejected: pd.DataFrame) -> list[str]:
    """Detections and rejected rows of each image are all rows of its file.

    Parameters
    ----------
    images, detections, rejected : schemas IMAGES, DETECTIONS (or MEASUREMENTS), REJECTED
    """
    names = images["image"]
    found = detections["image"].value_counts().reindex(names, fill_value=0).to_numpy()
    aside = rejected["image"].value_counts().reindex(names, fill_value=0).to_numpy()
    problems = [
        f"{image.catalogue}: {image.n_rows} rows, but {n_found} detections and {n_aside} rejected"
        for image, n_found, n_aside in zip(images.itertuples(), found, aside, strict=True)
        if image.n_rows != n_found + n_aside or image.n_rejected != n_aside
    ]
    strangers = (set(detections["image"].unique()) | set(rejected["image"].unique())) - set(names)
    return problems + [f"rows of image {name!r}, which the epoch does not have" for name in sorted(strangers)]


def measurements_add_up(detections: pd.DataFrame, measurements: pd.DataFrame) -> list[str]:
    """Measurements kept and duplicates are all detections, and every duplicate has one that is kept.

    Parameters
    ----------
    detections, measurements : schemas DETECTIONS, MEASUREMENTS
    """
    problems = []
    if set(detections["measurement_id"]) != set(measurements["measurement_id"]):
        kept = int(measurements["duplicate_of"].isna().sum())
        problems.append(
            f"{len(detections)} detections, but {kept} measurements and {len(measurements) - kept} duplicates"
        )
    if measurements["measurement_id"].duplicated().any():
        problems.append("a measurement_id repeats")
    duplicates = measurements[measurements["duplicate_of"].notna()]
    image_of = measurements.set_index("measurement_id")["image"]
    kept_ids = measurements.loc[measurements["duplicate_of"].isna(), "measurement_id"]
    orphans = ~stand_among(duplicates["duplicate_of"], kept_ids)
    if orphans.any():
        problems.append(f"{int(orphans.sum())} duplicates are of a measurement that is not kept")
    elif not problems:
        same = image_of.reindex(duplicates["duplicate_of"]).to_numpy() == duplicates["image"].to_numpy()
        if same.any():
            problems.append(f"{int(same.sum())} duplicates are of a measurement in the same image")
    return problems


def rejections_within_limits(images: pd.DataFrame, rejected: pd.DataFrame, parameters: Ingest) -> list[str]:
    """No more rows of an image are rejected than allowed; those that a survey's flags set aside are no fault.

    Parameters
    ----------
    images, rejected : schemas IMAGES, REJECTED
    parameters : `max_rejected_fraction`, `max_damaged_fraction`

    Returns
    -------
    One sentence a file, with the first row at fault and the cure.
    """
    rejected = rejected[~rejected["reason"].isin(BY_FLAGS)]
    damaged = rejected[rejected["damaged"].astype(bool)]
    limits = (
        (damaged, parameters.max_damaged_fraction, "damaged", "max_damaged_fraction"),
        (rejected, parameters.max_rejected_fraction, "rejected", "max_rejected_fraction"),
    )
    problems, told = [], set()
    for rows, limit, what, key in limits:
        counts = rows["image"].value_counts().reindex(images["image"], fill_value=0).to_numpy()
        share = counts / images["n_rows"].clip(lower=1).to_numpy()
        for position in (share > limit).nonzero()[0]:
            image = images.iloc[position]
            if image["image"] in told:
                continue
            told.add(image["image"])
            first = rows[rows["image"] == image["image"]].iloc[0]
            problems.append(
                f"{image['catalogue']}: {_place(first)}: {first['reason']} ({counts[position]} of {image['n_rows']} "
                f"rows {what}); correct the file, or raise ingest.{key} (now {limit:g})"
            )
    return problems


def _place(row: pd.Series) -> str:
    column = f", column {row['column']!r}" if isinstance(row["column"], str) else ""
    value = f" = {row['value']!r}" if isinstance(row["value"], str) else ""
    return f"line {row['line']}{column}{value}"
