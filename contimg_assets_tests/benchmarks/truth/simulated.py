"""Simulated surveys: what the products say, against what is true."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy.stats import chi2, kstest

from contimg_assets.association import associate_measurements
from contimg_assets.cli.demo import demo_configuration
from contimg_assets.cli.templates import write_templates
from contimg_assets.simulate import (
    SurveyParameters,
    SurveyTruth,
    score_association,
    simulate_detections,
    simulate_survey,
)
from contimg_assets.simulate.parameters import FIRST_LIKE, NVSS_LIKE
from contimg_assets.simulate.score import score_duplicates, score_matches
from contimg_assets.sky.sphere import offsets_arcsec, pairs_within, unit_vectors
from contimg_assets_tests.benchmarks.truth.tables import (
    Products,
    close_pairs,
    limits_beside_detections,
    limits_everywhere,
    made,
)

SEEDS = (1, 2, 3, 4, 5)
N_EPOCHS = 8
# What surveys may be like: each breaks another assumption.
SKIES: dict[str, dict[str, Any]] = {
    "default": {},
    # Most sources are bright against the noise: errors of the flux scale are most of what there is.
    "deep": {
        "rms_mjy_beam": (0.5, 0.9),
        "flux_min_mjy": 3.0,
        "faint_min_mjy": 0.5,
        "n_sources": 3000,
        "variable_min_flux_mjy": 10.0,
        "transient_flux_mjy": (8.0, 100.0),
    },
    # A beam as small as the images' position errors are large; positions have the systematic error that the default
    # configuration says they have, which is nothing beside larger beams.
    "sharp": {
        "bmaj_arcsec": 6.0,
        "bmin_arcsec": 5.0,
        "position_systematic_arcsec": 0.3,
        "extended_size_arcsec": 2.0,
        "catalogs": (NVSS_LIKE.model_copy(update={"beam_arcsec": 6.0}), FIRST_LIKE),
    },
    # Every place is seen three times an epoch.
    "overlapping": {"image_spacing_deg": 1.0, "images_per_epoch": 20, "n_sources": 1200},
}
# Edges in SNR: five bins. Below, the threshold of the finder cuts light curves off.
SNR_EDGES = (8.0, 12.0, 20.0, 40.0, 100.0, np.inf)
# What a survey shows of a source that varies, at least, to be called recoverable.
RECOVERABLE_P, RECOVERABLE_V, RECOVERABLE_EPOCHS, RECOVERABLE_SNR = 1e-4, 0.1, 3, 10.0
WITHIN_95 = 1.959964
# A true flux this near to a limit, as a fraction, is at the limit: what should be detected with 95 % chance.
AT_THE_LIMIT = 0.05


def make_project(folder: Path, sky: str, seed: int) -> SurveyTruth:
    """A project on a simulated survey in a folder; as it is where it was made before."""
    parameters = SurveyParameters.model_validate({"seed": seed, "n_epochs": N_EPOCHS, **SKIES[sky]})
    truth = simulate_survey(folder, parameters)
    write_templates(folder)
    configuration = yaml.safe_dump(demo_configuration(parameters), sort_keys=False)
    (folder / "contimg.yaml").write_text(configuration, encoding="utf-8")
    return truth


@dataclass(frozen=True)
class Compared:
    """One survey: its products, its truth, and which true source each of its sources shows."""

    products: Products
    truth: SurveyTruth

    @classmethod
    def of(cls, folder: Path, sky: str, seed: int) -> Compared:
        truth = make_project(folder, sky, seed)
        return cls(made(folder), truth)

    @cached_property
    def shown(self) -> pd.DataFrame:
        """Per source: the true source that most of its measurements show, whether all do, whether it is a blend.

        A blend is what the truth calls so in any measurement, and what is one by its neighbors' flux: images that
        resolve it now and then show another flux, which is no error where it is more than the noise.
        """
        labels = self.truth.measurements[["measurement_id", "true_source", "second_source"]]
        rows = self.products.points[["source_id", "measurement_id"]].merge(labels, on="measurement_id")
        rows["true_source"] = rows["true_source"].fillna("none")
        counts = rows.groupby(["source_id", "true_source"]).size().rename("n").reset_index()
        counts = counts.sort_values(["n", "true_source"], ascending=[False, True], kind="stable")
        main = counts.drop_duplicates("source_id").set_index("source_id")["true_source"]
        table = pd.DataFrame(
            {
                "true_source": main,
                "pure": counts.groupby("source_id").size() == 1,
                "blended": rows["second_source"].notna().groupby(rows["source_id"]).any(),
            }
        )
        kinds = self.truth.sources.set_index("true_source")
        noise = self.products.points.groupby("source_id")["local_rms_mjy_beam"].median()
        table["blended"] |= table["true_source"].map(self._flux_beside).fillna(0.0) > noise.reindex(table.index)
        table["source_class"] = table["true_source"].map(kinds["source_class"]).fillna("none")
        table["pure"] &= ~table["blended"] & (table["source_class"] != "none")
        return table

    @cached_property
    def _flux_beside(self) -> pd.Series:
        """Flux of the other true sources that the finder takes for one with each [mJy], by true_source."""
        sources, beam_arcsec = self.truth.sources, float(self.products.images["bmaj_arcsec"].max())
        radius = float(SurveyParameters.model_fields["blend_radius_beams"].default) * beam_arcsec
        vectors = unit_vectors(sources["ra_deg"], sources["dec_deg"])
        i, j, _ = pairs_within(vectors, vectors, radius)
        i, j = i[i != j], j[i != j]
        flux = pd.Series(sources["flux_mjy"].to_numpy()[j], index=sources["true_source"].to_numpy()[i])
        return flux.groupby(level=0).sum()

    @cached_property
    def seen(self) -> pd.DataFrame:
        """True sources as detected alone, one row an epoch: epoch, true_source, true_flux_mjy, rms_mjy_beam."""
        rows = self.truth.measurements
        rows = rows[rows["true_source"].notna() & rows["second_source"].isna()]
        rows = rows.merge(self.truth.images[["epoch", "image", "rms_mjy_beam"]], on=["epoch", "image"])
        return rows.sort_values("rms_mjy_beam").drop_duplicates(["true_source", "epoch"])

    def names(self, source_class: str) -> set[str]:
        sources = self.truth.sources
        return set(sources.loc[sources["source_class"] == source_class, "true_source"])


def constants_p_values(surveys: Iterable[Compared]) -> pd.DataFrame:
    """p_value and snr of the constant sources that were seen alone in at least four epochs."""
    parts = []
    for one in surveys:
        constant = one.shown[one.shown["pure"] & (one.shown["source_class"] == "constant")].index
        kind, table = one.products.kind, one.products.variability
        table = table[table["source_id"].isin(constant) & (table[f"n_{kind}"] >= 4)]
        snr = one.products.points.groupby("source_id")["snr"].median()
        parts.append(pd.DataFrame({"p_value": table[f"p_value_{kind}"], "snr": table["source_id"].map(snr)}))
    table = pd.concat(parts, ignore_index=True)
    return table[table["snr"] >= SNR_EDGES[0]]


def constants(surveys: list[Compared]) -> dict[str, Any]:
    table = constants_p_values(surveys)
    bins = [table["p_value"][table["snr"].between(low, high, "left")] for low, high in pairwise(SNR_EDGES)]
    return {
        "constants_below_1_percent": float((table["p_value"] < 0.01).mean()),
        "constants_ks": [float(kstest(one, "uniform").pvalue) if len(one) > 5 else np.nan for one in bins],
    }


def _recoverable_variables(one: Compared) -> set[str]:
    points = one.seen[one.seen["true_source"].isin(one.names("variable"))]
    weight, group = 1.0 / points["rms_mjy_beam"] ** 2, points["true_source"]
    mean = (points["true_flux_mjy"] * weight).groupby(group).sum() / weight.groupby(group).sum()
    squares = ((points["true_flux_mjy"] - group.map(mean)) ** 2 * weight).groupby(group).sum()
    n = group.groupby(group).size()
    expected = chi2.sf(squares + n - 1, (n - 1).clip(lower=1))
    flux = points["true_flux_mjy"].groupby(group)
    able = (n >= RECOVERABLE_EPOCHS) & (expected < RECOVERABLE_P) & (flux.std() / flux.mean() >= RECOVERABLE_V)
    return set(n.index[able])


def _detectable_transients(one: Compared) -> set[str]:
    points = one.seen[one.seen["true_source"].isin(one.names("transient"))]
    return set(points["true_source"][points["true_flux_mjy"] >= RECOVERABLE_SNR * points["rms_mjy_beam"]])


def _found(
    surveys: list[Compared],
    selected: Callable[[Compared], pd.Series],
    wanted: Callable[[Compared], set[str]],
    right: tuple[str, ...],
) -> dict[str, int]:
    """How many selected sources are of no right class or blends; how many of those wanted are among them."""
    counts = dict.fromkeys(("selected", "false", "blended", "wanted", "recovered"), 0)
    for one in surveys:
        ids = selected(one).drop_duplicates()
        shown = one.shown.reindex(ids)
        wrong = ~shown["source_class"].isin(right)
        counts["selected"] += len(ids)
        counts["blended"] += int((wrong & shown["blended"].eq(True)).sum())
        counts["false"] += int((wrong & ~shown["blended"].eq(True)).sum())
        able = wanted(one)
        counts["wanted"] += len(able)
        counts["recovered"] += len(able & set(shown["true_source"].dropna()))
    return counts


def variables(surveys: list[Compared]) -> dict[str, Any]:
    n = _found(surveys, lambda one: one.products.variables, _recoverable_variables, ("variable", "transient"))
    return {
        "variables_false_share": n["false"] / max(n["selected"] - n["blended"], 1),
        "variables_recall": n["recovered"] / max(n["wanted"], 1),
        "variables_counts": n,
    }


def new(surveys: list[Compared]) -> dict[str, Any]:
    n = _found(surveys, lambda one: one.products.new["id"], _detectable_transients, ("variable", "transient"))
    return {
        "new_precision": 1.0 - n["false"] / max(n["selected"] - n["blended"], 1),
        "new_recall": n["recovered"] / max(n["wanted"], 1),
        "new_counts": n,
    }


def _of_steady(one: Compared, limits: pd.DataFrame) -> pd.DataFrame:
    """Upper limits at the places of constant sources seen alone, with their true peak flux there."""
    steady = one.shown[one.shown["pure"] & (one.shown["source_class"] == "constant")]
    rows = limits[["epoch", "image", "source_id", "upper_limit_mjy_beam"]]
    rows = rows.merge(steady[["true_source"]], left_on="source_id", right_index=True)
    rows = rows.merge(one.truth.sources[["true_source", "flux_mjy", "size_arcsec"]], on="true_source")
    rows = rows.merge(one.products.images[["epoch", "image", "bmaj_arcsec", "bmin_arcsec"]], on=["epoch", "image"])
    beam, size = rows["bmaj_arcsec"] * rows["bmin_arcsec"], rows["size_arcsec"]
    seen = np.hypot(rows["bmaj_arcsec"], size) * np.hypot(rows["bmin_arcsec"], size)
    return rows.assign(true_peak_mjy_beam=rows["flux_mjy"] * beam / seen)


def _detected_at_the_limit(one: Compared) -> pd.Series:
    """Whether constant sources were detected, in each epoch in which their true flux is what a limit would be there.

    Written limits alone tell nothing of the promise: they are those of sources that were missed, most of which are
    fainter than the limit, and exact limits would lie above the true flux in 98 to 99 % of them.
    """
    rows = _of_steady(one, limits_everywhere(one.products))
    rows = rows[(rows["true_peak_mjy_beam"] / rows["upper_limit_mjy_beam"] - 1.0).abs() < AT_THE_LIMIT]
    found = one.truth.measurements
    found = pd.concat([found[["epoch", name]].set_axis(["epoch", "true"], axis=1) for name in _TRUE]).dropna()
    place = pd.MultiIndex.from_frame(rows[["epoch", "true_source"]])
    return pd.Series(place.isin(pd.MultiIndex.from_frame(found)))


# A detection is of one true source, and as a blend of another one.
_TRUE = ("true_source", "second_source")


def limits(surveys: list[Compared]) -> dict[str, Any]:
    rows = pd.concat([_of_steady(one, one.products.limits) for one in surveys], ignore_index=True)
    at_limit = pd.concat([_detected_at_the_limit(one) for one in surveys])
    return {
        "detected_at_the_limit": float(at_limit.mean()),
        "at_the_limit_counts": len(at_limit),
        "limits_above_true_flux": float((rows["upper_limit_mjy_beam"] > rows["true_peak_mjy_beam"]).mean()),
        "limits_counts": len(rows),
        "limits_beside_detections": sum(limits_beside_detections(one.products) for one in surveys),
        "twins_per_source": sum(map(_n_twins, surveys)) / sum(len(one.products.sources) for one in surveys),
    }


def _n_twins(one: Compared) -> int:
    """Pairs of sources that are one in truth; components of doubles may be as close, and blends belong to two."""
    sources = one.products.sources
    first, second = (one.shown.reindex(sources["id"].to_numpy()[rows]) for rows in close_pairs(sources).T)
    same = first["true_source"].to_numpy(object) == second["true_source"].to_numpy(object)
    clear = ~(first["blended"].eq(True).to_numpy() | second["blended"].eq(True).to_numpy())
    return int((same & clear).sum())


def _residuals(one: Compared) -> pd.DataFrame:
    """True minus applied corrections of each image, and their quoted errors."""
    names = ["dra_arcsec", "ddec_arcsec", "flux_mult"]
    true = one.truth.images[["epoch", "image", *names]].rename(columns={name: f"{name}_true" for name in names})
    both = true.merge(one.products.corrections, on=["epoch", "image"])
    both = both.merge(one.products.image_errors.add_suffix("_of_image"), left_on=["epoch", "image"], right_index=True)
    with np.errstate(divide="ignore"):
        scale = np.log(both["flux_mult_true"]) - np.log(both["flux_mult"])
    return both.assign(scale_residual=scale)


def _relative_scales(rows: pd.DataFrame) -> pd.Series:
    """Scales of the images of each field against their mean, in quoted errors of that difference."""
    own = rows["flux_scale_err_of_image"]
    rows = rows[own > 0].assign(weight=1.0 / own[own > 0] ** 2, field=rows["image"].str.rsplit("_tile", n=1).str[-1])
    rows = rows[rows.groupby("field")["field"].transform("size") > 1]
    group = rows["field"]
    total = rows["weight"].groupby(group).transform("sum")
    mean = (rows["weight"] * rows["scale_residual"]).groupby(group).transform("sum") / total
    return (rows["scale_residual"] - mean) / np.sqrt(1.0 / rows["weight"] - 1.0 / total)


def _position_residuals(one: Compared) -> pd.DataFrame:
    """True minus mean position of sources seen alone, in quoted errors, one row an axis; n_epochs."""
    pure = one.shown[one.shown["pure"]]
    rows = one.products.sources.merge(pure[["true_source"]], left_on="id", right_index=True)
    rows = rows.merge(one.truth.sources[["true_source", "ra_deg", "dec_deg"]], on="true_source", suffixes=("", "_true"))
    east, north = offsets_arcsec(rows["ra_deg"], rows["dec_deg"], rows["ra_deg_true"], rows["dec_deg_true"])
    sigmas = [east / rows["uncertainty_ew_arcsec"], north / rows["uncertainty_ns_arcsec"]]
    return pd.concat([pd.DataFrame({"sigma": one_axis, "n_epochs": rows["n_epochs"]}) for one_axis in sigmas])


def _covered(sigma: pd.Series) -> float:
    return float((sigma.abs() < WITHIN_95).mean()) if len(sigma) else float("nan")


def errors(surveys: list[Compared]) -> dict[str, Any]:
    residuals = [_residuals(one) for one in surveys]
    rows = pd.concat(residuals, ignore_index=True)
    placed, scaled = rows[rows["position_applied"].astype(bool)], rows[rows["flux_applied"].astype(bool)]
    offsets = [
        (placed[f"{a}_arcsec_true"] - placed[f"{a}_applied_arcsec"]) / placed[f"{a}_err_arcsec"]
        for a in ("dra", "ddec")
    ]
    absolute: pd.Series = scaled["scale_residual"] / np.hypot(
        scaled["flux_scale_err_of_image"], scaled["flux_tie_err_of_image"]
    )
    relative = pd.concat([_relative_scales(part[part["flux_applied"].astype(bool)]) for part in residuals])
    places = pd.concat([_position_residuals(one) for one in surveys], ignore_index=True)
    n, sigma = places["n_epochs"], places["sigma"]
    return {
        "offsets_within_95": _covered(pd.concat(offsets)),
        "relative_scales_within_95": _covered(relative),
        "absolute_scales_within_95": _covered(absolute),
        "positions_within_95": [_covered(sigma[n == 1]), _covered(sigma[n.between(2, 3)]), _covered(sigma[n >= 4])],
    }


def matches(surveys: list[Compared]) -> dict[str, Any]:
    """Best counterparts and duplicates: said beside what is judged."""
    scores = [score_matches(one.products.cross_matches, one.products.associations, one.truth) for one in surveys]
    repeats = [score_duplicates(one.products.measurements, one.truth.measurements) for one in surveys]
    return {
        "wrong_matches": (sum(one.n_wrong for one in scores), round(sum(one.n_wrong_expected for one in scores), 1)),
        "duplicates_missed": sum(one.n_true - one.n_right for one in repeats),
        "duplicates_wrong": sum(one.n_removed - one.n_right for one in repeats),
    }


def surveys_of(name: str, folder: Path, seeds: Iterable[int]) -> list[Compared]:
    """All seeds of one kind of sky."""
    return [Compared.of(folder / f"{name}_{seed}", name, seed) for seed in seeds]


def judged(surveys: list[Compared]) -> dict[str, Any]:
    """Everything about some surveys, together."""
    parts = (constants, variables, new, limits, errors, matches)
    return {key: value for part in parts for key, value in part(surveys).items()}


def association(n_sources: int = 10_000) -> dict[str, Any]:
    """Truth score of `optimal`: pair recall and precision, on plain skies, crowded ones and those with many gaps."""
    skies = {"plain": {}, "20 % doubles": {"double_fraction": 0.2}, "70 % complete": {"completeness": 0.7}}
    found = {}
    for name, settings in skies.items():
        tables = simulate_detections(n_sources, 10, **settings)
        result = associate_measurements(tables, "10arcsec", "optimal")
        score = score_association(result.associations, pd.concat(tables))
        found[name] = (score.pair_recall, score.pair_precision)
    return {"association": found}
