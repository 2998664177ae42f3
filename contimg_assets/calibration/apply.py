"""Corrected columns beside the raw ones.

Corrected position = measured + offset; corrected flux = (flux - add) * mult.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from contimg_assets.calibration import positions
from contimg_assets.errors import InputError
from contimg_assets.schemas.tables import TableLike, as_frame, require, with_columns
from contimg_assets.sky import sphere
from contimg_assets.sky.arrays import Floats


def apply_corrections(
    measurements: TableLike, corrections: TableLike, scale_pulls: TableLike | None = None
) -> pd.DataFrame:
    """Measurements with corrected positions and fluxes; the raw columns stay.

    Parameters
    ----------
    measurements : DataFrame, Table, QTable or pyarrow.Table
        One row a measurement: ``image``, ``ra_deg``, ``dec_deg``; of errors and fluxes those that are missing count as
        unknown.
    corrections : DataFrame, Table or pyarrow.Table
        What `measure_corrections` returned: a row for every image of the measurements. Without ``trusted`` all images
        are, without ``flux_tie_err`` it is 0.
    scale_pulls : DataFrame, Table or pyarrow.Table, optional
        ``measurement_id`` and ``pull`` of the measurements that gave their image its scale, see
        `contimg_assets.schemas.corrections`; none if not given.

    Returns
    -------
    DataFrame
        The measurements, in their order, with ``ra_corr_deg``, ``dec_corr_deg``, ``flux_int_corr_mjy``,
        ``flux_peak_corr_mjy_beam``, their errors and ``corrected``, as described in
        `contimg_assets.schemas.corrections`. Errors of fluxes are the thermal ones, scaled; ``flux_scale_err`` is the
        image's own error of the scale as a fraction, common to all its measurements but for those that the scale was
        measured from, ``flux_tie_err`` that of the absolute scale, common to the field; neither is part of them.
        ``trusted`` is the image's. Position errors grow by the offset's standard error, of a model over the image by
        that at their place.

    Raises
    ------
    InputError
        If a column is missing, or an image has no row in the corrections.

    Examples
    --------
    >>> import pandas as pd
    >>> import contimg_assets as ca
    >>> from contimg_assets.schemas.corrections import CORRECTIONS
    >>> corrections = pd.DataFrame([dict.fromkeys(CORRECTIONS.names) | {
    ...     "image": "tile1", "applied": True, "trusted": True, "position_applied": True, "flux_applied": True,
    ...     "dra_applied_arcsec": 0.0, "ddec_applied_arcsec": 3.6, "dra_err_arcsec": 0.1, "ddec_err_arcsec": 0.1,
    ...     "flux_mult": 0.5, "flux_mult_err": 0.01, "flux_tie_err": 0.02,
    ...     "flux_add_mjy": 0.0,
    ... }])
    >>> measurements = pd.DataFrame({"image": ["tile1"], "ra_deg": [10.0], "dec_deg": [16.0], "flux_int_mjy": [30.0]})
    >>> ca.apply_corrections(measurements, corrections)[["dec_corr_deg", "flux_int_corr_mjy"]].round(4)
       dec_corr_deg  flux_int_corr_mjy
    0        16.001               15.0
    """
    measurements, corrections = as_frame(measurements, "measurements"), as_frame(corrections, "corrections")
    require(measurements, ("image", "ra_deg", "dec_deg"), "measurements")
    require(corrections, ("image", "position_applied", "flux_mult"), "corrections")
    row = pd.Index(corrections["image"]).get_indexer(measurements["image"])
    if (row < 0).any():
        image = measurements["image"].iloc[int(np.argmax(row < 0))]
        raise InputError(f"image {image!r} has no row in the corrections: materialize the corrections of its epoch")

    def of_image(name: str) -> np.ndarray:
        values: np.ndarray = corrections[name].to_numpy(dtype=float, na_value=np.nan)[row]
        return values

    def of_measurement(name: str) -> np.ndarray:
        if name not in measurements.columns:
            return np.full(len(measurements), np.nan)
        return measurements[name].to_numpy(dtype=float, na_value=np.nan)

    moved = corrections["position_applied"].to_numpy(dtype=bool)[row]
    dra, ddec = of_image("dra_applied_arcsec"), of_image("ddec_applied_arcsec")
    dra_err, ddec_err = of_image("dra_err_arcsec"), of_image("ddec_err_arcsec")
    for index in np.flatnonzero(corrections["position_applied"] & corrections["position_coefficients"].notna()):
        here = row == index
        model = corrections["position_coefficients"].iloc[index]
        place = measurements["ra_deg"][here], measurements["dec_deg"][here]
        dra[here], ddec[here] = positions.evaluate(model, *place)
        dra_err[here], ddec_err[here] = positions.evaluate_errors(model, *place)
    centre = of_image("centre_ra_deg"), of_image("centre_dec_deg")
    angle = positions.convergence(centre, of_measurement("ra_deg"), of_measurement("dec_deg"))
    # Without a center the offset is taken for that of every measurement's own east and north.
    dra, ddec = positions.turned(dra, ddec, np.nan_to_num(angle))
    ra, dec = sphere.displaced(measurements["ra_deg"], measurements["dec_deg"], dra, ddec)
    mult, add = of_image("flux_mult"), of_image("flux_add_mjy")
    columns = {
        # Where nothing is added not even rounding may move a position.
        "ra_corr_deg": np.where(moved, ra, of_measurement("ra_deg")),
        "dec_corr_deg": np.where(moved, dec, of_measurement("dec_deg")),
        "uncertainty_ew_corr_arcsec": np.hypot(of_measurement("uncertainty_ew_arcsec"), np.where(moved, dra_err, 0.0)),
        "uncertainty_ns_corr_arcsec": np.hypot(of_measurement("uncertainty_ns_arcsec"), np.where(moved, ddec_err, 0.0)),
        "flux_peak_corr_mjy_beam": (of_measurement("flux_peak_mjy_beam") - add) * mult,
        "flux_peak_err_corr_mjy_beam": of_measurement("flux_peak_err_mjy_beam") * mult,
        "flux_int_corr_mjy": (of_measurement("flux_int_mjy") - add) * mult,
        "flux_int_err_corr_mjy": of_measurement("flux_int_err_mjy") * mult,
        "local_rms_corr_mjy_beam": of_measurement("local_rms_mjy_beam") * mult,
        "flux_scale_err": _scale_errors(measurements, of_image("flux_mult_err") / mult, scale_pulls),
        # Corrections from elsewhere need not say these two.
        "flux_tie_err": of_image("flux_tie_err") if "flux_tie_err" in corrections else 0.0,
        "trusted": corrections["trusted"].to_numpy(dtype=bool)[row] if "trusted" in corrections else True,
        "corrected": corrections["applied"].to_numpy(dtype=bool)[row],
    }
    return with_columns(measurements, columns)


def positions_as_measured(places: pd.DataFrame, correction: Mapping[Hashable, Any]) -> tuple[Floats, Floats]:
    """Where an image has what is corrected to be there: the correction of a place, taken off instead of added.

    Over the arcseconds of a correction, it does not change.

    Parameters
    ----------
    places : DataFrame
        ``ra_deg`` and ``dec_deg``, shape (n,).
    correction : mapping
        A row of CORRECTIONS, with the ``image``.

    Returns
    -------
    (array, array)
        Right ascension and declination [deg], shape (n,) each.
    """
    measured = places[["ra_deg", "dec_deg"]].assign(image=correction["image"])
    moved = apply_corrections(measured, pd.DataFrame([dict(correction)]))
    east, north = sphere.offsets_arcsec(*(moved[name] for name in ("ra_deg", "dec_deg", "ra_corr_deg", "dec_corr_deg")))
    return sphere.displaced(places["ra_deg"], places["dec_deg"], -east, -north)


def _scale_errors(measurements: pd.DataFrame, of_image: Floats, scale_pulls: TableLike | None) -> Floats:
    """What the error of its image's scale adds to each flux, shape (n,).

    The scale g follows the noise of the fluxes that it was measured from: with covariance c, the variance of S / g is
    that of S and g^2 - 2 c. Of many sources c is nothing; of a dozen it is most of g^2 of the bright ones.
    """
    if scale_pulls is None:
        return of_image
    pulls = as_frame(scale_pulls, "scale pulls").set_index("measurement_id")["pull"]
    pull = pulls.reindex(measurements["measurement_id"]).fillna(0.0).to_numpy(dtype=float)
    return np.sqrt(np.maximum(of_image**2 - 2.0 * pull, 0.0))
