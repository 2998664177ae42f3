"""The stage's one table: offset and flux scale of each image of an epoch, judged, with what is applied beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd

from contimg_assets.calibration import trust
from contimg_assets.calibration.flux_scale import MAX_CORE_SCATTER, FluxScale, scales_of_images
from contimg_assets.calibration.image_ties import CATALOG
from contimg_assets.calibration.positions import PositionOffset, offsets_of_images
from contimg_assets.calibration.selection import Selection, join, leave_out, only_tying, select, usable_matches
from contimg_assets.config import Corrections, with_overrides
from contimg_assets.identity.ids import hash_text
from contimg_assets.schemas.corrections import CORRECTIONS
from contimg_assets.schemas.tables import TableLike, as_frame, require, with_text_ids
from contimg_assets.sky import robust
from contimg_assets.sky.arrays import Flags, Floats, Indices, Values

# Fluxes carried farther than this in ln S (a fifth in frequency) depend on spectra, which change with flux: at 0.89 GHz
# against 1.4 GHz that looks like an additive error of 1 mJy where a catalog at 0.89 GHz shows none.
MAX_CARRIED = 0.15

_FOR_FLUXES = [
    "flux_mjy",
    "flux_err_mjy",
    "reference_flux_mjy",
    "reference_flux_err_mjy",
    "catalog_flux_mjy",
]


# Columns of the matches that say what ties what, besides those that are fitted.
_KEPT = ["image", "catalog", "measurement_id", "source_id", "flux_is_peak"]
_FOR_POSITIONS = ["ra_deg", "dec_deg", "dra_arcsec", "ddec_arcsec", "sigma_ew_arcsec", "sigma_ns_arcsec"]
# What was fitted: positions or fluxes, of which image against which catalog, and the rows of its matches.
_Fitted = tuple[str, str, str, bytes]


class _Measured(Protocol):
    @property
    def n(self) -> int: ...


Fit = TypeVar("Fit", bound=_Measured)
Center = tuple[float, float]


@dataclass(frozen=True)
class _Tie:
    """What was measured against one catalog, or several together, and why it is refused (None if it is not)."""

    catalog: str | None
    fit: Any
    refusal: str | None


def measure_corrections(
    measurements: TableLike,
    matches: TableLike,
    images: TableLike,
    parameters: Corrections | None = None,
    variable_sources: Collection[str] = (),
) -> pd.DataFrame:
    """Position offset and flux scale of every image of an epoch, judged, with what is to be applied.

    Parameters
    ----------
    measurements : DataFrame, Table, QTable or pyarrow.Table
        Of the epoch, as given to `match_measurements`; duplicates included: they count for their own image's isolation.
    matches : DataFrame, Table or pyarrow.Table
        What `match_measurements` returned.
    images : DataFrame, Table, QTable or pyarrow.Table
        One row an image: ``image``, ``ra_deg``, ``dec_deg`` (of its center), ``bmaj_arcsec``.
    parameters : contimg_assets.config.Corrections, optional
        Section `corrections` of the configuration; its defaults if not given.
    variable_sources : collection of str
        ``source_id`` of sources known to vary from earlier epochs: they do not tie the flux scale.

    Returns
    -------
    DataFrame
        One row for every image, sorted by image, as described in `contimg_assets.schemas.corrections`. What is not
        trusted is the identity, with ``applied`` false and the ``reason``. Where ``apply_flux`` is "epochs", fluxes are
        left to `contimg_assets.calibration.with_epoch_scales`.

    Raises
    ------
    InputError
        If a column is missing, or the tables do not belong together.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import contimg_assets as ca
    >>> ra, flux = 10.0 + 0.1 * np.arange(30), np.full(30, 200.0)
    >>> catalog = ca.ReferenceCatalog("mine", pd.DataFrame({
    ...     "catalog_source_id": [f"s{k:02d}" for k in range(30)], "ra_deg": ra, "dec_deg": 16.0, "flux_mjy": flux,
    ... }), freq_mhz=1400, beam_arcsec=45)
    >>> measurements = pd.DataFrame({
    ...     "measurement_id": [f"m{k:02d}" for k in range(30)], "image": "tile1", "ra_deg": ra, "dec_deg": 16.0002,
    ...     "uncertainty_ew_arcsec": 0.5, "uncertainty_ns_arcsec": 0.5, "flux_int_mjy": 1.1 * flux, "snr": 50.0,
    ... })
    >>> images = pd.DataFrame({
    ...     "image": ["tile1"], "ra_deg": [11.5], "dec_deg": [16.0], "bmaj_arcsec": [40.0], "freq_mhz": [1400.0],
    ... })
    >>> matches = ca.match_measurements(measurements, images, catalog)
    >>> corrections = ca.measure_corrections(measurements, matches, images)
    >>> corrections[["image", "ddec_arcsec", "flux_scale"]].round(2)
       image  ddec_arcsec  flux_scale
    0  tile1        -0.72         1.1
    """
    parameters = with_overrides(Corrections, parameters, {})
    measurements, matches, images = (
        with_text_ids(as_frame(table, what))
        for table, what in ((measurements, "measurements"), (matches, "matches"), (images, "images"))
    )
    require(images, ("image", "ra_deg", "dec_deg", "bmaj_arcsec"), "images")
    require(measurements, ("measurement_id", "image", "ra_deg", "dec_deg"), "measurements")
    return ImageFits.of(measurements, matches, images, parameters).corrections(variable_sources)


@dataclass(frozen=True)
class ImageFits:
    """What `measure_corrections` gives of an epoch, for any sources that are known to vary.

    A fit is made once for the matches that it is made of. So other variables cost the fits of the images that show
    them, and nothing where none of them would tie an image.

    Attributes
    ----------
    usable : of `usable_matches`, without those that tie nothing
    centres : of each image its ra_deg, dec_deg; sorted by image
    made : fits by what was fitted, image, catalog and rows of ``usable``
    tables : CORRECTIONS by the rows of ``usable`` that tie fluxes
    """

    usable: Selection
    centres: Sequence[tuple[str, Center]]
    parameters: Corrections
    made: dict[_Fitted, Any] = field(default_factory=dict)
    tables: dict[bytes, pd.DataFrame] = field(default_factory=dict)

    @classmethod
    def of(
        cls, measurements: pd.DataFrame, matches: pd.DataFrame, images: pd.DataFrame, parameters: Corrections
    ) -> ImageFits:
        """Of an epoch, as described at `measure_corrections`; nothing is fitted yet."""
        usable = only_tying(usable_matches(join(measurements, matches, images), measurements, images, parameters))
        usable = replace(usable, table=usable.table[[*_KEPT, *_FOR_POSITIONS, *_FOR_FLUXES]])
        ordered = images.sort_values("image")
        places = zip(ordered["image"], ordered["ra_deg"], ordered["dec_deg"], strict=True)
        return cls(usable, [(image, (float(ra), float(dec))) for image, ra, dec in places], parameters)

    def corrections(self, variable_sources: Collection[str] = ()) -> pd.DataFrame:
        """CORRECTIONS of the images, to which these sources do not tie fluxes."""
        selected = leave_out(self.usable, self.parameters, variable_sources)
        tied = selected.flux.tobytes()
        if tied not in self.tables:
            ties = _Ties.of(selected, self.parameters, self.made)
            records = ties.records(self.centres)
            table = pd.DataFrame(records, columns=CORRECTIONS.names) if records else CORRECTIONS.empty()
            self.tables[tied] = table
        return self.tables[tied]


@dataclass(frozen=True)
class _Ties:
    """The matches of an epoch that tie its images, looked up by image and catalog.

    Attributes
    ----------
    for_positions, for_fluxes : the columns of the matches that the two fits need: taking rows of all would be slow
    carried : how far the catalog's flux of each match was carried to our frequency, see `_carried`, shape (n,)
    measurement_id, flux_is_peak : two more columns of the matches, shape (n,)
    rows_of : rows of the matches, by image and catalog
    counts : matches left after each filter, by image and catalog
    position_catalogs, flux_catalogs : in the order in which they are tried, the same for all images: another catalog
        for an image shifts it against its neighbors by what the two differ
    made : fits of the same matches, which are not made again; those that are made are added
    """

    selected: Selection
    parameters: Corrections
    for_positions: pd.DataFrame
    for_fluxes: pd.DataFrame
    carried: Floats
    measurement_id: Values
    flux_is_peak: Flags
    rows_of: Mapping[Any, Any]
    counts: Mapping[str, Mapping[str, Mapping[str, int]]]
    position_catalogs: Sequence[str]
    flux_catalogs: Sequence[str]
    made: dict[_Fitted, Any]

    @classmethod
    def of(cls, selected: Selection, parameters: Corrections, made: dict[_Fitted, Any]) -> _Ties:
        counts: dict[str, dict[str, Mapping[str, int]]] = {}
        for (image, catalog), steps in selected.counts.items():
            counts.setdefault(image, {})[catalog] = steps
        return cls(
            selected=selected,
            parameters=parameters,
            for_positions=selected.table[_FOR_POSITIONS],
            for_fluxes=selected.table[_FOR_FLUXES],
            carried=_carried(selected.table).to_numpy(),
            measurement_id=selected.table["measurement_id"].to_numpy(),
            flux_is_peak=selected.table["flux_is_peak"].to_numpy(),
            rows_of=selected.table.groupby(["image", "catalog"], sort=False).indices,
            counts=counts,
            position_catalogs=parameters.position_catalogs or _surest_for_positions(selected, parameters),
            flux_catalogs=parameters.flux_catalogs or _surest_for_fluxes(selected, parameters),
            made=made,
        )

    def rows(self, mask: Flags, image: str, catalog: str) -> Indices:
        """Rows of the matches of an image with a catalog for which the mask is true."""
        rows = np.asarray(self.rows_of.get((image, catalog), ()), dtype=np.intp)
        return rows[mask[rows]]

    def offsets(self, images: Sequence[str], catalog: str, centres: Mapping[str, Center]) -> list[PositionOffset]:
        """Position offsets of images against one catalog."""
        # Models over the image cannot be averaged over catalogs; constants can.
        model = "constant" if self.parameters.combine == "weighted" else self.parameters.position_model

        def fits(of: Sequence[str], rows: Sequence[Indices]) -> list[PositionOffset]:
            return offsets_of_images(self.for_positions, rows, model, [centres[image] for image in of])

        return self._fits("position", images, catalog, fits)

    def scales(self, images: Sequence[str], catalog: str) -> list[FluxScale]:
        """Flux scales of images against one catalog."""
        parameters = self.parameters

        def fits(of: Sequence[str], rows: Sequence[Indices]) -> list[FluxScale]:
            offset = parameters.flux_offset
            near = [offset != "auto" or robust.median_of_known(self.carried[one]) <= MAX_CARRIED for one in rows]
            offsets = [offset if one else "never" for one in near]
            seeds = [int(hash_text([image])[0]) for image in of]
            return scales_of_images(self.for_fluxes, rows, parameters.flux_method, offsets, parameters.bootstrap, seeds)

        return self._fits("flux", images, catalog, fits)

    def _fits(
        self,
        what: str,
        images: Sequence[str],
        catalog: str,
        fits: Callable[[Sequence[str], Sequence[Indices]], list[Fit]],
    ) -> list[Fit]:
        """The fit of each image to one catalog; those that are not made yet are made together."""
        mask = self.selected.position if what == "position" else self.selected.flux
        rows = {image: self.rows(mask, image, catalog) for image in images}
        keys = {image: (what, image, catalog, of_image.tobytes()) for image, of_image in rows.items()}
        missing = [image for image in images if keys[image] not in self.made]
        if missing:
            made = fits(missing, [rows[image] for image in missing])
            self.made.update((keys[image], fit) for image, fit in zip(missing, made, strict=True))
        return [self.made[keys[image]] for image in images]

    def records(self, centres: Sequence[tuple[str, Center]]) -> list[dict[str, Any]]:
        """The rows of images in CORRECTIONS; their centers are ra_deg, dec_deg."""
        places, parameters = dict(centres), self.parameters
        positions = _of_catalogs(
            list(places),
            self.position_catalogs,
            lambda of, catalog: self.offsets(of, catalog, places),
            trust.refuse_position,
            _combine_offsets,
            parameters,
        )
        fluxes = _of_catalogs(
            list(places), self.flux_catalogs, self.scales, trust.refuse_flux, _combine_scales, parameters
        )
        return [self._record(image, centre, positions[image], fluxes[image]) for image, centre in centres]

    def _record(self, image: str, centre: Center, position: _Tie, flux: _Tie) -> dict[str, Any]:
        selected, parameters = self.selected, self.parameters
        tied = np.concatenate([self.rows(selected.flux, image, name) for name in (flux.catalog or "").split("+")])
        notes = [*selected.notes.get(image, []), *_flux_notes(flux.fit, self.carried[tied], parameters)]
        return {
            "image": image,
            "centre_ra_deg": centre[0],
            "centre_dec_deg": centre[1],
            **_position_columns(position),
            **_flux_columns(flux, self.flux_is_peak[tied], self.measurement_id[tied]),
            **_applied_columns(position, flux, parameters),
            "notes": "; ".join(notes) or None,
            "selection": json.dumps(self.counts.get(image, {})),
        }


def selection_of(
    measurements: pd.DataFrame,
    matches: pd.DataFrame,
    images: pd.DataFrame,
    parameters: Corrections,
    variable_sources: Collection[str] = (),
) -> Selection:
    """The matches that `measure_corrections` ties images with, for plots and diagnostics."""
    table = join(measurements, matches, images)
    return select(table, measurements, images, parameters, variable_sources)


def filter_counts(corrections: pd.DataFrame) -> pd.DataFrame:
    """Matches left after each filter, over all images of CORRECTIONS: a row a filter in order, a column a catalog."""
    total: dict[str, dict[str, int]] = {}
    for of_image in corrections["selection"].map(json.loads):
        for catalog, steps in of_image.items():
            of_catalog = total.setdefault(catalog, {})
            for step, n in steps.items():
                of_catalog[step] = of_catalog.get(step, 0) + n
    return pd.DataFrame({catalog: total[catalog] for catalog in sorted(total)}).rename_axis("filter")


def _surest_for_positions(selected: Selection, parameters: Corrections) -> list[str]:
    """Where none is configured: catalogs by how many images they can tie, then by their standard errors."""
    table = selected.table[selected.position]
    if len(only := table["catalog"].unique()) < 2:
        return list(only)
    offsets = table[["dra_arcsec", "ddec_arcsec"]]
    residual = (offsets - offsets.groupby([table["image"], table["catalog"]]).transform("median")).abs().max(axis=1)
    by_catalog = residual.groupby(table["catalog"])
    error: pd.Series = by_catalog.median() / np.sqrt(by_catalog.size())
    tied = _images_tied(table, parameters)
    return sorted(error.index, key=lambda name: (-tied[name], error[name], name))


def _surest_for_fluxes(selected: Selection, parameters: Corrections) -> list[str]:
    """Where none is configured: catalogs near our frequency first, then by how many images they can tie."""
    table = selected.table[selected.flux]
    if len(only := table["catalog"].unique()) < 2:
        return list(only)
    carried = _carried(table).groupby(table["catalog"]).median() > MAX_CARRIED
    counts = table.groupby("catalog").size()
    tied = _images_tied(table, parameters)
    return sorted(counts.index, key=lambda name: (carried[name], -tied[name], -counts[name], name))


def _images_tied(table: pd.DataFrame, parameters: Corrections) -> pd.Series:
    """Images with enough matches, for each catalog."""
    return (table.groupby(["catalog", "image"]).size() >= parameters.min_matches).groupby(level="catalog").sum()


def _carried(table: pd.DataFrame) -> pd.Series:
    """How far reference fluxes were carried along a spectrum to our frequency: |ln (expected / catalog flux)|."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = table["reference_flux_mjy"].to_numpy(dtype=float) / table["catalog_flux_mjy"].to_numpy(dtype=float)
        return pd.Series(np.abs(np.log(ratio)), index=table.index)


def _of_catalogs(
    images: Sequence[str],
    catalogs: Sequence[str],
    measure: Callable[[Sequence[str], str], list[Fit]],
    refuse: Callable[[Fit, Corrections], str | None],
    combine: Callable[[list[tuple[Fit, float]]], Fit],
    parameters: Corrections,
) -> dict[str, _Tie]:
    """Of each image the tie to the first trusted catalog, or to all trusted ones together; see `_joined`."""
    ties: dict[str, list[_Tie]] = {image: [] for image in images}
    left = list(images)
    for name in catalogs or [""]:
        for image, fit in zip(left, measure(left, name), strict=True):
            ties[image].append(_Tie(name or None, fit, refuse(fit, parameters)))
        if parameters.combine == "first":
            left = [image for image in left if ties[image][-1].refusal is not None]
    return {image: _joined(of_image, refuse, combine, parameters) for image, of_image in ties.items()}


def _joined(
    ties: Sequence[_Tie],
    refuse: Callable[[Fit, Corrections], str | None],
    combine: Callable[[list[tuple[Fit, float]]], Fit],
    parameters: Corrections,
) -> _Tie:
    """The tie of an image of those to single catalogs; where none is trusted, the one with most matches."""
    trusted = [tie for tie in ties if tie.refusal is None]
    if not trusted:
        best = max(ties, key=lambda tie: tie.fit.n)
        # Too few matches in every catalog: name none as the one that ties.
        return best if best.fit.n else _Tie(None, best.fit, best.refusal)
    if len(trusted) == 1:
        return trusted[0]
    weights = [parameters.catalog_weights.get(tie.catalog or "", 1.0) for tie in trusted]
    fit = combine([(tie.fit, weight) for tie, weight in zip(trusted, weights, strict=True)])
    return _Tie("+".join(tie.catalog or "" for tie in trusted), fit, refuse(fit, parameters))


def _weighted_mean(values: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Mean by weight / error^2 and its error, enlarged where the values disagree (Birge 1932)."""
    w = weights / np.maximum(errors, 1e-12) ** 2
    mean = float((w * values).sum() / w.sum())
    error = float(np.sqrt((w**2 * errors**2).sum()) / w.sum())
    chi2 = float((((values - mean) / np.maximum(errors, 1e-12)) ** 2).sum() / (len(values) - 1))
    return mean, error * max(1.0, np.sqrt(chi2))


def _combine_offsets(fits: list[tuple[PositionOffset, float]]) -> PositionOffset:
    offsets, weights = [fit for fit, _ in fits], np.array([weight for _, weight in fits])

    def values(name: str) -> np.ndarray:
        return np.array([getattr(offset, name) for offset in offsets])

    dra, dra_err = _weighted_mean(values("dra_arcsec"), values("dra_err_arcsec"), weights)
    ddec, ddec_err = _weighted_mean(values("ddec_arcsec"), values("ddec_err_arcsec"), weights)
    correlation = values("covariance_arcsec2") / np.maximum(values("dra_err_arcsec") * values("ddec_err_arcsec"), 1e-24)
    return PositionOffset(
        int(values("n").sum()),
        dra,
        ddec,
        dra_err,
        ddec_err,
        float(np.average(correlation, weights=weights)) * dra_err * ddec_err,
        float(np.average(values("dra_mad_arcsec"), weights=weights)),
        float(np.average(values("ddec_mad_arcsec"), weights=weights)),
    )


def _combine_scales(fits: list[tuple[FluxScale, float]]) -> FluxScale:
    scales, weights = [fit for fit, _ in fits], np.array([weight for _, weight in fits])

    def values(name: str) -> np.ndarray:
        return np.array([getattr(scale, name) for scale in scales])

    ln_scale, ln_err = _weighted_mean(np.log(values("scale")), values("scale_err") / values("scale"), weights)
    offset, offset_err = np.nan, np.nan
    if np.isfinite(values("offset_mjy")).all():
        offset, offset_err = _weighted_mean(values("offset_mjy"), values("offset_err_mjy"), weights)
    return FluxScale(
        scales[0].method,
        int(values("n").sum()),
        scale=float(np.exp(ln_scale)),
        scale_err=float(np.exp(ln_scale) * ln_err),
        offset_mjy=offset,
        offset_err_mjy=offset_err,
        intrinsic_scatter=float(np.average(values("intrinsic_scatter"), weights=weights)),
        outlier_fraction=float(np.average(values("outlier_fraction"), weights=weights)),
        max_influence=float(values("max_influence").max()),
    )


def _position_columns(tie: _Tie) -> dict[str, Any]:
    fit: PositionOffset = tie.fit
    return {
        "position_catalog": tie.catalog,
        "position_trusted": tie.refusal is None,
        "n_position": fit.n,
        "dra_arcsec": fit.dra_arcsec,
        "ddec_arcsec": fit.ddec_arcsec,
        "dra_err_arcsec": fit.dra_err_arcsec,
        "ddec_err_arcsec": fit.ddec_err_arcsec,
        "dra_ddec_cov_arcsec2": fit.covariance_arcsec2,
        "dra_mad_arcsec": fit.dra_mad_arcsec,
        "ddec_mad_arcsec": fit.ddec_mad_arcsec,
        "position_model": fit.model,
        "position_coefficients": fit.coefficients,
    }


def _flux_notes(fit: FluxScale, carried_each: Floats, parameters: Corrections) -> list[str]:
    notes = []
    if fit.n and fit.method != parameters.flux_method:
        notes.append(
            f"ln flux ratios scatter by over {MAX_CORE_SCATTER:.0%} beyond their errors: their median is taken"
        )
    carried = robust.median_of_known(carried_each) if fit.n else 0.0
    if carried > MAX_CARRIED:
        notes.append(
            f"the catalogue's fluxes were scaled by {carried:.2f} in ln S to our frequency: an error of the mean "
            "spectral index is in all images alike, and an additive error could not be told from it"
        )
    return notes


def _flux_columns(tie: _Tie, peaks: Flags, ids: Values) -> dict[str, Any]:
    """``peaks``, ``ids``: of the matches that the scale was measured from, in the order that the fit had them."""
    fit: FluxScale = tie.fit
    kind = None if not len(peaks) else "peak" if peaks.all() else "mixed" if peaks.any() else "integrated"
    influential = ids[fit.most_influential] if fit.most_influential >= 0 else None
    return {
        "flux_catalog": tie.catalog,
        "flux_trusted": tie.refusal is None,
        "flux_method": fit.method,
        "flux_kind": kind,
        "n_flux": fit.n,
        "flux_scale": fit.scale,
        "flux_scale_err": fit.scale_err,
        "flux_scale_err_bootstrap": fit.scale_err_bootstrap,
        "flux_offset_mjy": fit.offset_mjy,
        "flux_offset_err_mjy": fit.offset_err_mjy,
        "flux_intrinsic_scatter": fit.intrinsic_scatter,
        "flux_outlier_fraction": fit.outlier_fraction,
        "flux_chi2_reduced": fit.chi2_reduced,
        "flux_max_influence": fit.max_influence,
        "flux_influential_id": influential,
        "flux_tied_by": CATALOG if tie.refusal is None else None,
        "n_relative": 0,
    }


def _applied_columns(position: _Tie, flux: _Tie, parameters: Corrections) -> dict[str, Any]:
    """What is applied, and why what is asked for is not."""
    wanted = {"position": parameters.apply_position, "flux": parameters.apply_flux in ("catalog", "relative")}
    refusals = {"position": position.refusal, "flux": flux.refusal}
    moved, scaled = (wanted[what] and refusals[what] is None for what in ("position", "flux"))
    reasons = [refusal for what, refusal in refusals.items() if wanted[what] and refusal is not None]
    fit: FluxScale = flux.fit
    return {
        "applied": not reasons,
        "position_applied": moved,
        "flux_applied": scaled,
        "trusted": not (trust.is_wrong_position(position.fit, parameters) or trust.is_wrong_flux(flux.fit, parameters)),
        "reason": "; ".join(reasons) or None,
        "dra_applied_arcsec": position.fit.dra_arcsec if moved else 0.0,
        "ddec_applied_arcsec": position.fit.ddec_arcsec if moved else 0.0,
        "flux_mult": 1 / fit.scale if scaled else 1.0,
        "flux_mult_err": fit.scale_err / fit.scale**2 if scaled else 0.0,
        "flux_tie_err": 0.0,
        "flux_add_mjy": float(np.nan_to_num(fit.offset_mjy)) if scaled else 0.0,
        "flux_add_err_mjy": float(np.nan_to_num(fit.offset_err_mjy)) if scaled else 0.0,
    }
