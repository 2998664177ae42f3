"""The products of a finished project as tables, and what simulated and real surveys are both asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import chi2

from contimg_assets.config import Variability, load_config
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.writing.stored import read_observed, trusted_images
from contimg_assets.orchestration.runs.in_process import bring_up_to_date
from contimg_assets.pipeline.project import Project
from contimg_assets.sky.sphere import pairs_within, unit_vectors
from contimg_assets.variability.finder import flux_limits
from contimg_assets.variability.new_sources import seen_by, uncovered_detections
from contimg_assets_tests.instances import instance_in_memory

TWIN_ARCSEC = 10.0


def made(folder: Path) -> Products:
    """The products of a project's folder, brought up to date first: at once where they are."""
    project = Project(load_config(folder / "contimg.yaml"))
    # One in memory: one on disk would lie where the benchmark is called.
    with instance_in_memory() as instance:
        report = bring_up_to_date(project, instance)
    assert report.complete, (report.errors, report.problems, report.troubles, report.failed)
    return Products(project.products)


@dataclass(frozen=True)
class Products:
    """Tables of a products database; columns that a later version of the package adds are used where they are."""

    database: ProductsDatabase

    def _read(self, name: str) -> pd.DataFrame:
        return self.database.read_table(name)

    @cached_property
    def measurements(self) -> pd.DataFrame:
        """Measurements, duplicates among them."""
        return self._read("measurements")

    @cached_property
    def limits(self) -> pd.DataFrame:
        return self.database.query("SELECT * FROM upper_limits")

    @cached_property
    def associations(self) -> pd.DataFrame:
        return self._read("associations")

    @cached_property
    def sources(self) -> pd.DataFrame:
        return self._read("sources")

    @cached_property
    def images(self) -> pd.DataFrame:
        return self._read("images")

    @cached_property
    def corrections(self) -> pd.DataFrame:
        return self._read("corrections")

    @cached_property
    def cross_matches(self) -> pd.DataFrame:
        return self._read("cross_matches")

    @cached_property
    def variability(self) -> pd.DataFrame:
        table = self._read("variability")
        return table[table["sample"] == "detections"]

    @cached_property
    def kind(self) -> str:
        """Which fluxes light curves are judged by."""
        return self.database.flux_kind()

    @cached_property
    def points(self) -> pd.DataFrame:
        """Points of light curves: associations with their measurements and images; neither duplicates nor limits."""
        kept = self.measurements[self.measurements["duplicate_of"].isna()]
        points = self.associations[["source_id", "epoch", "measurement_id"]].merge(kept, on=["epoch", "measurement_id"])
        images = self.images[["epoch", "image", "ra_deg", "dec_deg", "bmaj_arcsec"]]
        return points.merge(images, on=["epoch", "image"], suffixes=("", "_image"))

    @property
    def variables(self) -> pd.Series:
        """Sources of `contimg variables` at its defaults, in its order."""
        return self.database.variables(kind=self.kind, q_value=Variability().max_q)["source_id"]

    @property
    def new(self) -> pd.DataFrame:
        """Sources of `contimg new` at its defaults."""
        return self.database.new_sources()

    @property
    def image_errors(self) -> pd.DataFrame:
        """Errors of each image's scale as fractions: its own, and that common to others (0 where there is none)."""
        rows = self.measurements
        columns = [name for name in ("flux_scale_err", "flux_tie_err") if name in rows]
        return (
            rows.groupby(["epoch", "image"])[columns]
            .max()
            .reindex(columns=["flux_scale_err", "flux_tie_err"])
            .fillna(0.0)
        )


def limits_beside_detections(products: Products) -> int:
    """Upper limits of sources within half a beam of which something was detected in that very epoch."""
    beam = products.images.set_index(["epoch", "image"])["bmaj_arcsec"]
    limits, seen = products.limits, products.measurements
    n = 0
    for epoch, here in limits.groupby("epoch"):
        there = seen[seen["epoch"] == epoch]
        radius = beam.loc[pd.MultiIndex.from_frame(here[["epoch", "image"]])].to_numpy(float) / 2.0
        i, _, apart = pairs_within(
            unit_vectors(here["ra_deg"], here["dec_deg"]),
            unit_vectors(there["ra_corr_deg"], there["dec_corr_deg"]),
            float(radius.max()),
        )
        n += len(np.unique(i[apart <= radius[i]]))
    return n


def limits_everywhere(products: Products) -> pd.DataFrame:
    """What the upper limit of each source is in every epoch that covered it, whether it was detected or not.

    Returns
    -------
    DataFrame: source_id, epoch, image (the deepest there), upper_limit_mjy_beam
    """
    sources, parameters = products.sources, Variability()
    with products.database.engine.connect() as connection:
        observed = read_observed(connection, {})
        images = trusted_images(observed.images, parameters.finder_threshold_sigma)
        epochs = sorted(set(images["epoch"]))
        never = np.zeros((len(sources), len(epochs)), dtype=bool)
        covered = uncovered_detections(sources, images, never, epochs, observed.coverage, every_image=True)
    lead = ~covered.duplicated(["source", "epoch"]).to_numpy()
    owner, at = np.cumsum(lead) - 1, covered["image_row"].to_numpy(dtype=np.intp)
    scale_err = np.hypot(images["flux_scale_err"], images["flux_tie_err"])
    rms = covered["rms_mjy_beam"].to_numpy(dtype=float)
    seen = seen_by(owner, at, rms, images.assign(flux_scale_err=scale_err))
    deepest = covered.loc[lead, ["epoch", "image"]].reset_index(drop=True)
    return deepest.assign(
        source_id=sources["id"].to_numpy()[covered["source"].to_numpy(dtype=np.intp)[lead]],
        upper_limit_mjy_beam=flux_limits(seen, parameters.upper_limit_chance, len(deepest)),
    )


def close_pairs(sources: pd.DataFrame, radius_arcsec: float = TWIN_ARCSEC) -> np.ndarray:
    """Rows of sources closer than a radius, shape (n_pairs, 2)."""
    vectors = unit_vectors(sources["ra_deg"], sources["dec_deg"])
    i, j, _ = pairs_within(vectors, vectors, radius_arcsec)
    return np.stack([i, j], axis=-1)[i < j]


def median_eta(eta: pd.Series, n: pd.Series) -> float:
    """Median of eta over the median that constant sources have with as many points: 1 where the errors are right."""
    freedom = (n - 1).to_numpy(float)
    return float(np.median(eta.to_numpy(float) / (chi2.median(freedom) / freedom)))
