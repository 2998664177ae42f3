"""Position offsets and flux scales of images: measured from catalog matches, judged, applied beside raw values.

Belongs here: which matches tie an image, what they say, and whether that is believed. Does not belong here: finding the
matches (`crossmatch`).
"""

from contimg_assets.calibration.apply import apply_corrections
from contimg_assets.calibration.epoch_scale import (
    calculate_epoch_scales,
    constant_sources,
    scale_refusals,
    with_epoch_scales,
)
from contimg_assets.calibration.field_scale import (
    field_scales,
    field_scales_and_pulls,
    scale_pulls,
    tie_fluxes,
    with_field_scales,
    without_additive,
)
from contimg_assets.calibration.flux_scale import FluxScale, calculate_flux_scale
from contimg_assets.calibration.known_variables import add_fluxes, calibrated_fluxes, known_variables
from contimg_assets.calibration.measure import ImageFits, filter_counts, measure_corrections, selection_of
from contimg_assets.calibration.positions import PositionOffset, calculate_positional_offsets

__all__ = [
    "FluxScale",
    "ImageFits",
    "PositionOffset",
    "add_fluxes",
    "apply_corrections",
    "calculate_epoch_scales",
    "calculate_flux_scale",
    "calculate_positional_offsets",
    "calibrated_fluxes",
    "constant_sources",
    "field_scales",
    "field_scales_and_pulls",
    "filter_counts",
    "known_variables",
    "measure_corrections",
    "scale_pulls",
    "scale_refusals",
    "selection_of",
    "tie_fluxes",
    "with_epoch_scales",
    "with_field_scales",
    "without_additive",
]
