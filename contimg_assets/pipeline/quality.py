"""Whether an epoch is fit to be published: plain functions that the stages' checks call.

Each returns sentences, one a problem, and none if all is well. Checks of reading are in `ingest.checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from contimg_assets.config import Checks, Corrections
from contimg_assets.sky.sphere import separation_arcsec


def positions_outside_field(images: pd.DataFrame, detections: pd.DataFrame, margin: float) -> list[str]:
    """Detections farther from their image's center than ``margin`` field radii: wrong columns, or another field's file.

    Parameters
    ----------
    images, detections : schemas IMAGES, DETECTIONS
    """
    field = images.set_index("image").loc[detections["image"], ["ra_deg", "dec_deg", "radius_deg"]].to_numpy(float)
    distance_deg = separation_arcsec(field[:, 0], field[:, 1], detections["ra_deg"], detections["dec_deg"]) / 3600.0
    outside = pd.Series(distance_deg > margin * field[:, 2]).groupby(detections["image"].to_numpy()).sum()
    return [
        f"{int(n)} detection(s) of image {image!r} lie more than {margin:g} field radii from its center; correct "
        f"ra_deg, dec_deg and radius_deg of the image in images.csv, or the positions in its catalog"
        for image, n in outside.items()
        if n
    ]


def too_few_matches(summary: pd.DataFrame, limits: Checks) -> list[str]:
    """Catalogues that cover the epoch but know hardly any of its measurements: its positions cannot be right.

    Parameters
    ----------
    summary : schema MATCH_SUMMARY
    """
    totals = summary.groupby("catalog")[["n_covered", "n_matched"]].sum()
    totals = totals[totals["n_covered"] >= limits.min_covered]
    share = totals["n_matched"] / totals["n_covered"]
    return [
        f"only {int(n_matched)} of {int(n_covered)} measurements that {catalog!r} covers have a counterpart there, at "
        f"least {limits.min_matched_fraction:.0%} are expected; look at the images' positions, or lower "
        f"checks.min_matched_fraction"
        for catalog, n_covered, n_matched in totals[share < limits.min_matched_fraction].itertuples()
    ]


def association_rate(diagnostics: Mapping[str, Any]) -> float | None:
    """Share of the known sources inside the epoch's images that were seen again; None where there were none."""
    seen, unseen = diagnostics["n_matched"], diagnostics["n_unmatched_in_coverage"]
    return seen / (seen + unseen) if unseen is not None and seen + unseen else None


def too_few_associations(diagnostics: Mapping[str, Any], limits: Checks) -> list[str]:
    """Known sources inside the epoch's images that were not seen again, beyond what noise explains.

    Parameters
    ----------
    diagnostics : of `association.fold.fold`
    """
    rate = association_rate(diagnostics)
    known = diagnostics["n_matched"] + (diagnostics["n_unmatched_in_coverage"] or 0)
    if rate is None or known < limits.min_covered or rate >= limits.min_association_rate:
        return []
    return [
        f"only {rate:.0%} of the {known} known sources inside the images were seen again, at least "
        f"{limits.min_association_rate:.0%} are expected; look at the images' positions, depth and fields"
    ]


def implausible_corrections(corrections: pd.DataFrame, parameters: Corrections) -> list[str]:
    """Images whose measured offset or flux scale is too large to be believed, though enough matches measured it.

    Parameters
    ----------
    corrections : schema CORRECTIONS
    """
    offset = np.hypot(corrections["dra_arcsec"].to_numpy(float), corrections["ddec_arcsec"].to_numpy(float))
    far = (corrections["n_position"] >= parameters.min_matches).to_numpy() & (offset > parameters.max_offset_arcsec)
    scale = corrections["flux_scale"].to_numpy(float)
    off = (corrections["n_flux"] >= parameters.min_matches).to_numpy() & (
        np.abs(scale - 1.0) > parameters.max_scale_change
    )
    names = corrections["image"].to_numpy()
    return [
        f"the position offset of image {name!r}, {value:.1f} arcsec, is larger than corrections.max_offset_arcsec "
        f"({parameters.max_offset_arcsec:g})"
        for name, value in zip(names[far], offset[far], strict=True)
    ] + [
        f"the fluxes of image {name!r} are {value:.2f} times those of {catalog}, which differs from 1 by more than "
        f"corrections.max_scale_change ({parameters.max_scale_change:g})"
        for name, value, catalog in zip(names[off], scale[off], corrections["flux_catalog"][off], strict=True)
    ]
