"""The error model from epoch to epoch: what is carried, and what an epoch adds. A function of the epochs in time order.

The model that is published after an epoch is that after the epoch before, unless the evidence speaks against it: then
it is what the evidence gives. So most nights change no error of any earlier flux, and any order of arrival ends in the
same model.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from contimg_assets.identity.versions import combine_versions, version_of_table
from contimg_assets.ingest.bands import mhz_of_name
from contimg_assets.schemas.association import of_one_source
from contimg_assets.schemas.core import TableSchema
from contimg_assets.schemas.error_model import (
    BAND_ERROR_COUNTS,
    BAND_ERROR_MODEL,
    BAND_ERROR_SUMS,
    CONFIGURATIONS,
    ERROR_COUNTS,
    ERROR_MEANS,
    ERROR_MODEL,
    ERROR_SUMS,
)
from contimg_assets.schemas.variability import FLUX_KINDS
from contimg_assets.sky.arrays import Flags, Floats, Integers
from contimg_assets.variability.configurations import Pointings, configuration_of, following
from contimg_assets.variability.error_evidence import (
    N_CELLS,
    N_STEPS,
    N_SUMS,
    Evidence,
    Fit,
    Means,
    Points,
    has_moved,
)
from contimg_assets.variability.error_model import (
    AXES,
    COLUMN_PART,
    EAST,
    UNIT_ARCSEC,
    ErrorModel,
    ErrorTerms,
    in_image_radii,
    model_rows,
    of_all_bands,
    position_rows,
)
from contimg_assets.variability.image_positions import with_images
from contimg_assets.variability.position_evidence import Places, PositionEvidence, assumed_terms, places_of

EVIDENCE: Mapping[str, type[Evidence]] = {
    **dict.fromkeys(FLUX_KINDS, Evidence),
    **dict.fromkeys(AXES, PositionEvidence),
}
"""What is counted of each kind of flux, and of each axis of positions."""

_POSITION_ERRORS = [f"uncertainty_{axis}{part}_arcsec" for axis in COLUMN_PART.values() for part in ("", "_corr")]

STATE_TABLES: tuple[TableSchema, ...] = (ERROR_MODEL, CONFIGURATIONS, ERROR_COUNTS, ERROR_SUMS, ERROR_MEANS)
BAND_TABLES: tuple[TableSchema, ...] = (BAND_ERROR_MODEL, BAND_ERROR_COUNTS, BAND_ERROR_SUMS)


@dataclass(frozen=True)
class _Kind:
    """What is carried of one kind of flux, or axis of positions."""

    means: Means
    evidence: Evidence


@dataclass(frozen=True)
class ErrorState:
    """All that is carried from epoch to epoch.

    Attributes
    ----------
    published : rows of ERROR_MODEL; none before anything was measured
    pointings : configurations so far
    kinds : "peak" and "int", "east" and "north" -> means and evidence
    bands : evidence of each band, by kind of flux; none of a survey of one band, whose evidence is that of all
    of_bands : rows of BAND_ERROR_MODEL that are published
    """

    published: pd.DataFrame
    pointings: Pointings
    kinds: Mapping[str, _Kind]
    bands: Mapping[str, Mapping[str, Evidence]] = field(default_factory=dict)
    of_bands: pd.DataFrame = field(default_factory=BAND_ERROR_MODEL.empty)

    @classmethod
    def empty(cls) -> ErrorState:
        """Before the first epoch."""
        kinds = {kind: _Kind(Means.none(), evidence.none()) for kind, evidence in EVIDENCE.items()}
        return cls(ERROR_MODEL.empty(), Pointings.none(), kinds)

    @cached_property
    def model(self) -> ErrorModel:
        """The published one."""
        return ErrorModel.of_table(self.all_published)

    def of_band(self, band: str) -> ErrorModel:
        """The published one of a band; of all bands, if none is named."""
        return self.model.of_band(mhz_of_name(band)) if band else self.model

    @property
    def all_published(self) -> pd.DataFrame:
        """Rows of BAND_ERROR_MODEL: of all bands together, and of single ones."""
        return of_all_bands(self.published, self.of_bands)

    @cached_property
    def version(self) -> str:
        tables = [*self.tables.values(), *(self.band_tables.values() if self.bands else ())]
        return combine_versions(*(version_of_table(table) for table in tables))

    @property
    def means(self) -> pd.DataFrame:
        """Rows of ERROR_MEANS, those of each kind of flux by source and configuration."""
        kinds = [one.means.rows.assign(flux_kind=kind) for kind, one in self.kinds.items()]
        return pd.concat(kinds, ignore_index=True)[ERROR_MEANS.names]

    def with_means(self, rows: pd.DataFrame) -> ErrorState:
        """The same with these means, such as those of a part of the sky, or none.

        Parameters
        ----------
        rows : of ERROR_MEANS, those of each kind of flux sorted by source and configuration
        """
        means = {kind: Means.of_rows(rows[rows["flux_kind"] == kind]) for kind in self.kinds}
        return replace(self, kinds={kind: replace(one, means=means[kind]) for kind, one in self.kinds.items()})

    @cached_property
    def tables(self) -> dict[str, pa.Table]:
        """As `STATE_TABLES`."""
        counts, sums = _rows_of({kind: one.evidence for kind, one in self.kinds.items()})
        return {
            ERROR_MODEL.name: ERROR_MODEL.to_arrow(self.published),
            CONFIGURATIONS.name: CONFIGURATIONS.to_arrow(self.pointings.rows),
            ERROR_COUNTS.name: ERROR_COUNTS.to_arrow(counts),
            ERROR_SUMS.name: ERROR_SUMS.to_arrow(sums),
            ERROR_MEANS.name: ERROR_MEANS.to_arrow(self.means),
        }

    @cached_property
    def band_tables(self) -> dict[str, pa.Table]:
        """As `BAND_TABLES`; without rows in a survey of one band."""
        parts = [
            [rows.assign(band=band) for rows in _rows_of(evidence)] for band, evidence in sorted(self.bands.items())
        ]
        counts, sums = (
            pd.concat(rows, ignore_index=True)[schema.names] if rows else schema.empty()
            for schema, rows in zip(BAND_TABLES[1:], zip(*parts, strict=True) if parts else ((), ()), strict=True)
        )
        tables = (self.of_bands, counts, sums)
        return {schema.name: schema.to_arrow(table) for schema, table in zip(BAND_TABLES, tables, strict=True)}

    @classmethod
    def of_tables(cls, tables: Mapping[str, pd.DataFrame]) -> ErrorState:
        """The inverse of `tables`."""
        kinds = {}
        for kind in EVIDENCE:
            means = tables[ERROR_MEANS.name]
            evidence = _evidence_of(kind, tables[ERROR_COUNTS.name], tables[ERROR_SUMS.name])
            kinds[kind] = _Kind(Means.of_rows(means[means["flux_kind"] == kind]), evidence)
        of_bands, counts, sums = (tables.get(schema.name, schema.empty()) for schema in BAND_TABLES)
        bands = {
            str(band): {kind: _evidence_of(kind, rows, sums[sums["band"] == band]) for kind in EVIDENCE}
            for band, rows in counts.groupby("band")
        }
        return cls(tables[ERROR_MODEL.name], Pointings(tables[CONFIGURATIONS.name]), kinds, bands, of_bands)


def _rows_of(evidence: Mapping[str, Evidence]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of ERROR_COUNTS and ERROR_SUMS of the evidence of each kind of flux."""
    counts, sums = [], []
    for kind, one in evidence.items():
        cell, step = np.nonzero(one.counts)
        counts.append(pd.DataFrame({"flux_kind": kind, "cell": cell, "step": step, "n": one.counts[cell, step]}))
        cell, part = np.nonzero(one.sums)
        sums.append(pd.DataFrame({"flux_kind": kind, "cell": cell, "part": part, "variance": one.sums[cell, part]}))
    return pd.concat(counts, ignore_index=True), pd.concat(sums, ignore_index=True)


def _evidence_of(kind: str, counts: pd.DataFrame, sums: pd.DataFrame) -> Evidence:
    """The inverse of `_rows_of`, of one kind of flux."""
    counts, sums = (rows[rows["flux_kind"] == kind] for rows in (counts, sums))
    evidence = EVIDENCE[kind](np.zeros((N_CELLS, N_STEPS), np.int64), np.zeros((N_CELLS, N_SUMS)))
    evidence.counts[counts["cell"].to_numpy(), counts["step"].to_numpy()] = counts["n"].to_numpy()
    evidence.sums[sums["cell"].to_numpy(), sums["part"].to_numpy()] = sums["variance"].to_numpy()
    return evidence


@dataclass(frozen=True)
class AfterEpoch:
    """What an epoch gives.

    Attributes
    ----------
    state : after it
    configurations : rows of IMAGE_CONFIGURATIONS, sorted by image
    moved : whether another model was published
    """

    state: ErrorState
    configurations: pd.DataFrame
    moved: bool


def add_epoch(
    state: ErrorState,
    fluxes: pd.DataFrame,
    images: pd.DataFrame,
    assumed_arcsec: tuple[float, float],
    bands_before: Collection[str] | None = None,
) -> AfterEpoch:
    """The state after another epoch.

    Parameters
    ----------
    fluxes : of `constant_fluxes_of`, their sources named with the band (`ingest.bands.by_band`) or not
    images : IMAGES of the epoch
    assumed_arcsec : systematic errors east and north that the measurements have by configuration
    bands_before : bands of the epochs before; those of the means that are carried, if not given
    """
    points = {kind: _points(fluxes, kind) for kind in FLUX_KINDS}
    # Both kinds of flux have the same images: the one that more rows have tells them apart.
    by = max(points, key=lambda kind: (len(points[kind][0].flux), kind))
    pointings, configurations = _configure(state, points[by], images, by)
    number = configurations.set_index("image")["configuration"]
    kinds, published, moved = {}, [], False
    configured: dict[str, Points] = {
        kind: replace(those, configuration=number.reindex(image).to_numpy(dtype=np.int64))
        for kind, (those, image) in points.items()
    }
    state = _with_assumed(state, assumed_arcsec)
    state, places, systematic = _placed(state, fluxes, configurations["image"], assumed_arcsec)
    configured |= places
    for kind, here in configured.items():
        carried, rows, changed = _with_points(state, kind, here)
        kinds[kind], moved = carried, moved or changed
        published.append(rows)
    model = (
        pd.concat([rows for rows in published if len(rows)], ignore_index=True) if any(map(len, published)) else None
    )
    after = ErrorState(ERROR_MODEL.empty() if model is None else model, pointings, kinds)
    if bands_before is None:
        bands_before = bands_of(state.means["source_id"])
    after, changed = _with_bands(state, after, configured, bands_before)
    return AfterEpoch(after, configurations.assign(**systematic), moved or changed)


def bands_of(source_id: Iterable[str]) -> set[str]:
    """The bands that sources are named with."""
    return {name.partition("@")[2] for name in pd.unique(pd.Series(source_id, dtype=object))} - {""}


def _with_bands(
    before: ErrorState, after: ErrorState, points: Mapping[str, Points], bands_before: Collection[str]
) -> tuple[ErrorState, bool]:
    """The state after an epoch with the evidence and the models of bands, and whether one of these is another.

    Nothing as long as there is but one band. When the second one comes, all that is known is of the first.
    """
    band = {
        kind: np.array([name.partition("@")[2] for name in one.source_id], dtype=object) for kind, one in points.items()
    }
    here = sorted({str(name) for names in band.values() for name in names})
    bands, of_bands = dict(before.bands), before.of_bands
    if not bands and len({*bands_before, *here}) > 1 and len(bands_before) == 1:
        (first,) = bands_before
        bands[first] = {kind: one.evidence for kind, one in before.kinds.items()}
        of_bands = before.published.assign(band=first)[BAND_ERROR_MODEL.names]
    if not bands and len({*bands_before, *here}) <= 1:
        return after, False
    changed = False
    for name in here:
        own, evidence = bands.get(name, {}), {}
        for kind, one in points.items():
            those = one.take(band[kind] == name)
            known = own.get(kind, EVIDENCE[kind].none())
            evidence[kind] = known.with_points(those, before.kinds[kind].means, after.kinds[kind].means)
            rows = _published_of(name, kind, evidence[kind], of_bands, after.published)
            if rows is not None:
                others = of_bands[~((of_bands["band"] == name) & (of_bands["flux_kind"] == kind))]
                of_bands, changed = pd.concat([part for part in (others, rows) if len(part)], ignore_index=True), True
        bands[name] = evidence
    of_bands = of_bands.sort_values(list(BAND_ERROR_MODEL.key), ignore_index=True)
    return replace(after, bands=bands, of_bands=of_bands), changed


def _published_of(
    band: str, kind: str, evidence: Evidence, of_bands: pd.DataFrame, pooled: pd.DataFrame
) -> pd.DataFrame | None:
    """Rows of a band's model where the evidence speaks against the one that it has, or that of all bands; else None."""
    if not evidence.n:
        return None
    has = ErrorModel.of_table(of_all_bands(pooled, of_bands)).of_band(mhz_of_name(band)).terms[kind]
    assumed = ErrorModel.of_table(pooled).assumed
    found = evidence.fit(_believed(kind, assumed))
    if not has_moved(has, found):
        return None
    return _rows_of_fit(kind, found, assumed).assign(band=band)[BAND_ERROR_MODEL.names]


def _believed(kind: str, assumed: Mapping[str, float]) -> float:
    """The floor that is believed before there is evidence: of positions, what is assumed of them."""
    return assumed.get(kind, 0.0) / UNIT_ARCSEC


def _rows_of_fit(kind: str, found: Fit, assumed: Mapping[str, float]) -> pd.DataFrame:
    """Rows of ERROR_MODEL that the evidence of a kind of flux, or axis, gives."""
    if kind in AXES:
        return position_rows(kind, found.terms, found.errors, found.n, assumed[kind])
    return model_rows(kind, found.terms, found.errors, found.n)


def _with_assumed(state: ErrorState, assumed_arcsec: tuple[float, float]) -> ErrorState:
    """The state with a model of positions: before anything was measured, what the configuration says."""
    rows = [
        position_rows(axis, terms := assumed_terms(assumed), 0.0 * terms.squares, 0, assumed)
        for axis, assumed in zip(AXES, assumed_arcsec, strict=True)
        if axis not in state.model.terms
    ]
    parts = [part for part in (state.published, *rows) if len(part)]
    return replace(state, published=pd.concat(parts, ignore_index=True)) if rows else state


def _placed(
    state: ErrorState, fluxes: pd.DataFrame, images: pd.Series, assumed_arcsec: tuple[float, float]
) -> tuple[ErrorState, dict[str, Places], dict[str, Floats]]:
    """Positions of an epoch by axis, the state that they are compared with, and columns of IMAGE_CONFIGURATIONS."""
    kinds, places, systematic = {}, {}, {}
    number_of = pd.Index(images, dtype=object)
    for axis, assumed in zip(AXES, assumed_arcsec, strict=True):
        carried, here = state.kinds[axis], places_of(fluxes, axis, assumed, number_of)
        if axis == EAST:
            here = here.near(carried.means)
        places[axis], means, of_image = with_images(here, carried.means, state.model.terms[axis], len(images))
        kinds[axis], systematic[f"systematic_{COLUMN_PART[axis]}_arcsec"] = replace(carried, means=means), of_image
    return replace(state, kinds={**state.kinds, **kinds}), places, systematic


def _configure(
    state: ErrorState, points: tuple[Points, pd.Index], images: pd.DataFrame, kind: str
) -> tuple[Pointings, pd.DataFrame]:
    """Which configuration each image has."""
    those, image = points
    new, numbers, near_to = state.pointings.following, [], functools.cache(state.pointings.near)
    ordered, rows_of = images.sort_values("image"), pd.Series(image).groupby(image.to_numpy()).indices
    ra, dec, radius = (ordered[name].to_numpy(dtype=float) for name in ("ra_deg", "dec_deg", "radius_deg"))
    for name, *place in zip(ordered["image"], ra.tolist(), dec.tolist(), radius.tolist(), strict=True):
        # Images of one epoch are compared with those of earlier epochs only.
        near, n_images = near_to(*place)
        here = those.take(np.asarray(rows_of.get(name, ()), np.intp))
        number = configuration_of(here, near, n_images, state.kinds[kind].means, _model_for(state, kind, here))
        if number is None:
            number = new
        new = max(new, following(number))
        numbers.append(number)
    pointings = state.pointings.with_images(np.array(numbers, np.int64), ra, dec)
    return pointings, pd.DataFrame({"image": ordered["image"].to_numpy(dtype=object), "configuration": numbers})


def _model_for(state: ErrorState, kind: str, points: Points) -> tuple[ErrorTerms, int]:
    """The published terms for an image's fluxes, and how many differences there are by now: those of its band."""
    if not state.bands or not len(points.flux):
        return state.model.terms[kind], state.kinds[kind].evidence.n
    (band,) = bands_of(points.source_id[:1]) or {""}
    known = state.bands.get(band, {}).get(kind, Evidence.none())
    return state.of_band(band).terms[kind], known.n


def _with_points(state: ErrorState, kind: str, points: Points) -> tuple[_Kind, pd.DataFrame, bool]:
    """Means and evidence with the epoch's, rows of the model after it, and whether these are others than before."""
    carried = state.kinds[kind]
    terms = state.model.terms[kind]
    rows = state.published[state.published["flux_kind"] == kind]
    means = carried.means.with_points(points, terms)
    evidence = carried.evidence.with_points(points, carried.means, means)
    after = _Kind(means, evidence)
    if not len(points.flux) or not evidence.n:
        return after, rows, False
    found = evidence.fit(_believed(kind, state.model.assumed))
    if not has_moved(terms, found):
        return after, rows, False
    return after, _rows_of_fit(kind, found, state.model.assumed), True


def constant_fluxes_of(corrected: pd.DataFrame, associations: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """The fluxes of one epoch that may tell what errors are.

    Parameters
    ----------
    corrected : CORRECTED_MEASUREMENTS of the epoch
    associations, images : ASSOCIATIONS and IMAGES of the epoch

    Returns
    -------
    DataFrame sorted by source_id: source_id, image, radius (from the image center, in radii of the image), ra_deg and
    dec_deg (corrected), uncertainty_ew_arcsec and uncertainty_ew_corr_arcsec and the same north,
    flux_scale_err, flux_tie_err, flux_<kind>, flux_<kind>_err. Left out are duplicates, forced measurements, those of
    several sources, and those in images that are not trusted; of two of a source the first by id.
    """
    own = of_one_source(associations)
    usable = corrected["duplicate_of"].isna() & ~corrected["forced"].to_numpy(dtype=bool)
    if "trusted" in corrected.columns:
        usable &= corrected["trusted"].to_numpy(dtype=bool)
    table = own.merge(corrected[usable], on="measurement_id", how="inner")
    table = table.sort_values(["source_id", "measurement_id"]).drop_duplicates("source_id")
    field = images.set_index("image")["radius_deg"].reindex(table["image"]).to_numpy(dtype=float)
    radius = in_image_radii(table["dist_from_centre_deg"].to_numpy(dtype=float), field)
    columns = {"source_id": table["source_id"], "image": table["image"], "radius": radius}
    columns |= {"ra_deg": table["ra_corr_deg"], "dec_deg": table["dec_corr_deg"]}
    columns |= {name: table[name] for name in _POSITION_ERRORS}
    columns |= {name: table[name].fillna(0.0) for name in ("flux_scale_err", "flux_tie_err")}
    for kind, unit in FLUX_KINDS.items():
        columns[f"flux_{kind}"] = table[f"flux_{kind}_corr_{unit}"]
        columns[f"flux_{kind}_err"] = table[f"flux_{kind}_err_corr_{unit}"]
    return pd.DataFrame(columns).reset_index(drop=True)


def _points(fluxes: pd.DataFrame, kind: str) -> tuple[Points, pd.Index]:
    """Usable fluxes of one kind, and the image of each."""

    def numbers(name: str) -> Floats:
        return fluxes[name].to_numpy(dtype=float, na_value=np.nan)

    flux, err = numbers(f"flux_{kind}"), numbers(f"flux_{kind}_err")
    usable: Flags = np.isfinite(flux) & np.isfinite(err) & (flux > 0) & (err > 0)
    nothing: Integers = np.zeros(int(usable.sum()), np.int64)
    # As objects: each of them is looked up in indices of objects several times.
    texts = (fluxes[name].to_numpy(dtype=object)[usable] for name in ("source_id", "image"))
    source, image = (pd.Index(text, dtype=object) for text in texts)
    columns = (flux, err, numbers("flux_scale_err"), numbers("radius"), numbers("flux_tie_err"))
    return Points(source, nothing, *(column[usable] for column in columns)), image
