"""The error model from epoch to epoch: what is carried, and what an epoch adds. A function of the epochs in time order.

The model that is published after an epoch is that after the epoch before, unless the evidence speaks against it: then
it is what the evidence gives. So most nights change no error of any earlier flux, and any order of arrival ends in the
same model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from contimg_assets.identity.versions import combine_versions, version_of_table
from contimg_assets.schemas.association import of_one_source
from contimg_assets.schemas.core import TableSchema
from contimg_assets.schemas.error_model import (
    CONFIGURATIONS,
    ERROR_COUNTS,
    ERROR_MEANS,
    ERROR_MODEL,
    ERROR_SUMS,
)
from contimg_assets.schemas.variability import FLUX_KINDS
from contimg_assets.sky.arrays import Flags, Floats, Integers
from contimg_assets.variability.configurations import Pointings, configuration_of
from contimg_assets.variability.error_evidence import (
    N_CELLS,
    N_STEPS,
    N_SUMS,
    Evidence,
    Means,
    Points,
    fit,
    has_moved,
)
from contimg_assets.variability.error_model import ErrorModel, in_image_radii, model_rows

STATE_TABLES: tuple[TableSchema, ...] = (ERROR_MODEL, CONFIGURATIONS, ERROR_COUNTS, ERROR_SUMS, ERROR_MEANS)
_KEY = ["source_id", "configuration"]


@dataclass(frozen=True)
class _Kind:
    """What is carried of one kind of flux."""

    means: Means
    evidence: Evidence


@dataclass(frozen=True)
class ErrorState:
    """All that is carried from epoch to epoch.

    Attributes
    ----------
    published : rows of ERROR_MODEL; none before anything was measured
    pointings : configurations so far
    kinds : "peak" and "int" -> means and evidence
    """

    published: pd.DataFrame
    pointings: Pointings
    kinds: Mapping[str, _Kind]

    @classmethod
    def empty(cls) -> ErrorState:
        """Before the first epoch."""
        kinds = {kind: _Kind(Means.none(), Evidence.none()) for kind in FLUX_KINDS}
        return cls(ERROR_MODEL.empty(), Pointings.none(), kinds)

    @cached_property
    def model(self) -> ErrorModel:
        """The published one."""
        return ErrorModel.of_table(self.published)

    @cached_property
    def version(self) -> str:
        return combine_versions(*(version_of_table(table) for table in self.tables.values()))

    @property
    def means(self) -> pd.DataFrame:
        """Rows of ERROR_MEANS, those of each kind of flux by source and configuration."""
        kinds = [one.means.rows.reset_index().assign(flux_kind=kind) for kind, one in self.kinds.items()]
        return pd.concat(kinds, ignore_index=True)[ERROR_MEANS.names]

    def with_means(self, rows: pd.DataFrame) -> ErrorState:
        """The same with these means, such as those of a part of the sky, or none.

        Parameters
        ----------
        rows : of ERROR_MEANS, those of each kind of flux sorted by source and configuration
        """
        kinds = {}
        for kind, one in self.kinds.items():
            own = rows[rows["flux_kind"] == kind].drop(columns="flux_kind")
            kinds[kind] = replace(one, means=Means(own.set_index(_KEY)) if len(own) else Means.none())
        return replace(self, kinds=kinds)

    @cached_property
    def tables(self) -> dict[str, pa.Table]:
        """As `STATE_TABLES`."""
        counts, sums = [], []
        for kind, one in self.kinds.items():
            cell, step = np.nonzero(one.evidence.counts)
            counts.append(
                pd.DataFrame({"flux_kind": kind, "cell": cell, "step": step, "n": one.evidence.counts[cell, step]})
            )
            cell, part = np.nonzero(one.evidence.sums)
            sums.append(
                pd.DataFrame({"flux_kind": kind, "cell": cell, "part": part, "variance": one.evidence.sums[cell, part]})
            )
        return {
            ERROR_MODEL.name: ERROR_MODEL.to_arrow(self.published),
            CONFIGURATIONS.name: CONFIGURATIONS.to_arrow(self.pointings.rows),
            ERROR_COUNTS.name: ERROR_COUNTS.to_arrow(pd.concat(counts, ignore_index=True)),
            ERROR_SUMS.name: ERROR_SUMS.to_arrow(pd.concat(sums, ignore_index=True)),
            ERROR_MEANS.name: ERROR_MEANS.to_arrow(self.means),
        }

    @classmethod
    def of_tables(cls, tables: Mapping[str, pd.DataFrame]) -> ErrorState:
        """The inverse of `tables`."""
        kinds = {}
        for kind in FLUX_KINDS:
            counts, sums, means = (
                tables[schema.name][tables[schema.name]["flux_kind"] == kind].drop(columns="flux_kind")
                for schema in (ERROR_COUNTS, ERROR_SUMS, ERROR_MEANS)
            )
            evidence = Evidence(np.zeros((N_CELLS, N_STEPS), np.int64), np.zeros((N_CELLS, N_SUMS)))
            evidence.counts[counts["cell"].to_numpy(), counts["step"].to_numpy()] = counts["n"].to_numpy()
            evidence.sums[sums["cell"].to_numpy(), sums["part"].to_numpy()] = sums["variance"].to_numpy()
            rows = means.set_index(_KEY) if len(means) else Means.none().rows
            kinds[kind] = _Kind(Means(rows), evidence)
        return cls(tables[ERROR_MODEL.name], Pointings(tables[CONFIGURATIONS.name]), kinds)


@dataclass(frozen=True)
class AfterEpoch:
    """What an epoch gives.

    Attributes
    ----------
    state : after it
    configurations : image, configuration; sorted by image
    moved : whether another model was published
    """

    state: ErrorState
    configurations: pd.DataFrame
    moved: bool


def add_epoch(state: ErrorState, fluxes: pd.DataFrame, images: pd.DataFrame) -> AfterEpoch:
    """The state after another epoch.

    Parameters
    ----------
    fluxes : of `constant_fluxes_of`
    images : IMAGES of the epoch
    """
    points = {kind: _points(fluxes, kind) for kind in FLUX_KINDS}
    # Both kinds of flux have the same images: the one that more rows have tells them apart.
    by = max(points, key=lambda kind: (len(points[kind][0].flux), kind))
    pointings, configurations = _configure(state, points[by], images, by)
    number = configurations.set_index("image")["configuration"]
    kinds, published, moved = {}, [], False
    for kind, (those, image) in points.items():
        here = replace(those, configuration=number.reindex(image).to_numpy(dtype=np.int64))
        carried, rows, changed = _with_points(state, kind, here)
        kinds[kind], moved = carried, moved or changed
        published.append(rows)
    model = (
        pd.concat([rows for rows in published if len(rows)], ignore_index=True) if any(map(len, published)) else None
    )
    after = ErrorState(ERROR_MODEL.empty() if model is None else model, pointings, kinds)
    return AfterEpoch(after, configurations, moved)


def _configure(
    state: ErrorState, points: tuple[Points, pd.Index], images: pd.DataFrame, kind: str
) -> tuple[Pointings, pd.DataFrame]:
    """Which configuration each image has."""
    those, image = points
    pointings, numbers = state.pointings, []
    model = state.model.terms[kind], state.kinds[kind].evidence.n
    ordered, rows_of = images.sort_values("image"), pd.Series(image).groupby(image.to_numpy()).indices
    for name, ra, dec, radius in zip(
        ordered["image"], ordered["ra_deg"], ordered["dec_deg"], ordered["radius_deg"], strict=True
    ):
        # Images of one epoch are compared with those of earlier epochs only.
        near, n_images = state.pointings.near(float(ra), float(dec), float(radius))
        here = those.take(np.asarray(rows_of.get(name, ()), np.intp))
        number = configuration_of(here, near, n_images, state.kinds[kind].means, model)
        number = pointings.following if number is None else number
        pointings = pointings.with_image(number, float(ra), float(dec))
        numbers.append(number)
    return pointings, pd.DataFrame({"image": ordered["image"].to_numpy(dtype=object), "configuration": numbers})


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
    found = fit(evidence)
    if not has_moved(terms, found):
        return after, rows, False
    return after, model_rows(kind, found.terms, found.errors, found.n), True


def constant_fluxes_of(corrected: pd.DataFrame, associations: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """The fluxes of one epoch that may tell what errors are.

    Parameters
    ----------
    corrected : CORRECTED_MEASUREMENTS of the epoch
    associations, images : ASSOCIATIONS and IMAGES of the epoch

    Returns
    -------
    DataFrame sorted by source_id: source_id, image, radius (from the image center, in radii of the image),
    flux_scale_err, flux_<kind>, flux_<kind>_err. Left out are duplicates, forced measurements, those of several
    sources, and those in images that are not trusted; of two of a source the first by id.
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
    columns["flux_scale_err"] = table["flux_scale_err"].fillna(0.0)
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
    source, image = (pd.Index(fluxes[name].to_numpy(dtype=object)[usable]) for name in ("source_id", "image"))
    scale_err, radius = numbers("flux_scale_err"), numbers("radius")
    return Points(source, nothing, flux[usable], err[usable], scale_err[usable], radius[usable]), image
