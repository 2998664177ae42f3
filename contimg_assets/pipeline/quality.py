"""Whether an epoch is fit to be published: plain functions that the stages' checks call.

Each returns sentences, one a problem, and none if all is well. Checks of reading are in `ingest.checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from contimg_assets.association.reach import too_short
from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Checks, Corrections
from contimg_assets.identity.ids import hash_text
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


@dataclass(frozen=True)
class MatchVerdict:
    """Catalogs that know hardly any of an epoch's measurements that they should know, each with the reason.

    Parameters
    ----------
    judged : catalogs of which enough sources are expected for a verdict
    failed : those of them that fail, and why
    """

    judged: tuple[str, ...]
    failed: Mapping[str, str]

    @property
    def of_epoch(self) -> list[str]:
        """What speaks against the epoch: where every catalog fails, its positions cannot be right."""
        return list(self.failed.values()) if len(self.failed) == len(self.judged) else []

    @property
    def of_catalogs(self) -> dict[str, str]:
        """What speaks against some catalogs alone, because others know the epoch."""
        return {} if self.of_epoch else dict(self.failed)


def judge_matches(
    summary: pd.DataFrame,
    limits: Checks,
    expected: Mapping[str, int] | None = None,
    fractions: Mapping[str, float] | None = None,
) -> MatchVerdict:
    """Whether each catalog that covers an epoch knows enough of its measurements.

    Parameters
    ----------
    summary : schema MATCH_SUMMARY
    limits : `min_matched_fraction`, `min_covered`
    expected : of each catalog, how many of its own sources the images should show; more counterparts than that cannot
        be asked for, and without a number all measurements are
    fractions : of some catalogs, a threshold of their own
    """
    totals = summary.groupby("catalog")[["n_covered", "n_matched"]].sum()
    known = totals.index.map(lambda name: (expected or {}).get(name, np.inf)).to_numpy(float)
    asked = np.minimum(totals["n_covered"].to_numpy(float), known)
    judged = [str(name) for name in totals.index[asked >= limits.min_covered]]
    failed = {}
    for (catalog, n_covered, n_matched), n_asked in zip(totals.itertuples(), asked, strict=True):
        fraction = (fractions or {}).get(catalog, limits.min_matched_fraction)
        if catalog in judged and n_matched < fraction * n_asked:
            shown = f"{int(n_covered)} measurements that {catalog!r} covers"
            if n_asked < n_covered:
                shown = f"{int(n_asked)} sources of {catalog!r} that the images should show"
            failed[str(catalog)] = (
                f"only {int(n_matched)} of {shown} have a counterpart, at least {fraction:.0%} are expected; look at "
                f"the images' positions, lower checks.min_matched_fraction or catalogs.{catalog}.min_matched_fraction"
            )
    return MatchVerdict(tuple(judged), failed)


def too_few_matches(summary: pd.DataFrame, limits: Checks) -> list[str]:
    """Catalogs that cover the epoch but know hardly any of its measurements: its positions cannot be right.

    Parameters
    ----------
    summary : schema MATCH_SUMMARY
    """
    return list(judge_matches(summary, limits).failed.values())


def expected_counterparts(catalog: ReferenceCatalog, images: pd.DataFrame, spectral_index: float) -> int:
    """How many sources of a catalog the images of an epoch should show: inside them, and well above their noise.

    Sources without a flux density are not expected: stars are none of our sources.

    Parameters
    ----------
    images : schema IMAGES
    spectral_index : S ~ nu^alpha, for the way to the images' frequency
    """
    shown: set[int] = set()
    columns = ("ra_deg", "dec_deg", "radius_deg", "freq_mhz", "rms_mjy_beam")
    for centre_ra, centre_dec, radius_deg, freq_mhz, rms in images[list(columns)].to_numpy(float):
        table, near = catalog.covering(centre_ra, centre_dec, radius_deg * 3600.0)
        rows = table.take(pa.array(near))
        flux = rows.column("flux_mjy").to_numpy() * (freq_mhz / catalog.freq_mhz) ** spectral_index
        ra, dec = rows.column("ra_deg").to_numpy(), rows.column("dec_deg").to_numpy()
        inside = separation_arcsec(centre_ra, centre_dec, ra, dec) <= radius_deg * 3600.0
        seen = inside & (flux > _WELL_ABOVE * rms)
        shown.update(hash_text(rows.column("catalog_source_id").to_pandas()[seen]).tolist())
    return len(shown)


# Noise at the edge of a field is several times that of its middle, and spectra scatter.
_WELL_ABOVE = 20.0


def association_rate(diagnostics: Mapping[str, Any]) -> float | None:
    """Share of the known sources inside the epoch's images that were seen again; None where there were none."""
    seen, unseen = diagnostics["n_matched"], diagnostics["n_unmatched_in_coverage"]
    return seen / (seen + unseen) if unseen is not None and seen + unseen else None


def short_reach(diagnostics: Mapping[str, Any]) -> list[str]:
    """Whether the epoch's new sources are what a too short reach of association would give.

    Parameters
    ----------
    diagnostics : of `association.fold.fold`
    """
    beyond, matched, new = diagnostics["n_beyond_reach"], diagnostics["n_matched"], diagnostics["n_new"]
    if not too_short(beyond, matched, new):
        return []
    return [
        f"about {beyond:.0f} of the measurements of the {matched + beyond:.0f} known sources lie too far from them to "
        f"be taken for theirs, and {new} sources are called new: raise association.max_separation_arcsec, or leave it "
        "out, and the beams decide"
    ]


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
