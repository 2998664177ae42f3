"""How well results agree with the truth of a simulated survey: duplicates, association, corrections, what was found.

Belongs here: plain functions of tables with the columns of `contimg_assets.schemas`, and their report in words. Rows
that the truth calls blends (``second_source``) belong to two sources at once, so no answer about them is right or
wrong: they are left out of the counts of association and duplicates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.table import Table
from scipy.stats import chi2

from contimg_assets.config import Variability
from contimg_assets.simulate.survey import SurveyTruth
from contimg_assets.sky.arrays import Floats
from contimg_assets.variability.significance import benjamini_hochberg, significances
from contimg_assets.variability.statistics import VARIABLE_P_VALUE

# A variable counts as recoverable if its true fluxes vary by so much.
_RECOVERABLE_V = 0.1


@dataclass(frozen=True)
class DuplicateScore:
    """Repeats of a source between the images of an epoch.

    ``completeness``: share of the true repeats that were taken out; ``purity``: share of those taken out that were one.
    """

    n_true: int
    n_removed: int
    n_right: int

    @property
    def completeness(self) -> float:
        return _share(self.n_right, self.n_true)

    @property
    def purity(self) -> float:
        return _share(self.n_right, self.n_removed)

    def rows(self) -> list[tuple[str, str, str]]:
        """For people: what was scored, the result, and the result in words."""
        words = (
            f"{self.n_right} of {self.n_true} repeats in overlapping images taken out; "
            f"{self.n_removed - self.n_right} of {self.n_removed} taken out were not one"
        )
        return [("Duplicates", f"{self.completeness:.1%}", words)]


@dataclass(frozen=True)
class AssociationScore:
    """Pairs of measurements of one source: how many true pairs were put together, and how many pairs are true ones."""

    n_measurements: int
    n_true_sources: int
    n_sources: int
    n_exact: int
    true_pairs: int
    found_pairs: int
    right_pairs: int

    @property
    def pair_recall(self) -> float:
        return _share(self.right_pairs, self.true_pairs)

    @property
    def pair_precision(self) -> float:
        return _share(self.right_pairs, self.found_pairs)

    @property
    def wrong_or_missing_pairs(self) -> int:
        return self.true_pairs + self.found_pairs - 2 * self.right_pairs

    def rows(self) -> list[tuple[str, str, str]]:
        """For people: what was scored, the result, and the result in words."""
        pairs = (
            f"of the pairs of measurements of one source are together; {self.pair_precision:.2%} of the pairs that are "
            f"together are one source"
        )
        sources = f"for {self.n_true_sources} true ones seen at least once; {self.n_exact} of them complete and pure"
        return [("Association", f"{self.pair_recall:.2%}", pairs), ("Sources", f"{self.n_sources}", sources)]


@dataclass(frozen=True)
class CorrectionScore:
    """True minus applied corrections: rms over the images (positions: over both axes too), raw and in quoted errors."""

    n_images: int
    n_position_applied: int
    n_flux_applied: int
    offset_before_arcsec: float
    offset_after_arcsec: float
    offset_sigma: float
    offset_within_2_sigma: float
    scale_before: float
    scale_after: float
    scale_sigma: float
    scale_within_2_sigma: float

    def rows(self) -> list[tuple[str, str, str]]:
        """For people: what was scored, the result, and the result in words."""
        offsets = (
            f"left of {self.offset_before_arcsec:.2f}″ image offset (rms per axis) in {self.n_position_applied} "
            f"of {self.n_images} images; {self.offset_sigma:.2f} quoted errors, "
            f"{self.offset_within_2_sigma:.0%} within two"
        )
        scales = (
            f"left of {self.scale_before:.2%} (rms) in {self.n_flux_applied} of {self.n_images} images; "
            f"{self.scale_sigma:.2f} quoted errors, {self.scale_within_2_sigma:.0%} within two"
        )
        return [
            ("Positions", f"{self.offset_after_arcsec:.2f}″", offsets),
            ("Flux scales", f"{self.scale_after:.2%}", scales),
        ]


@dataclass(frozen=True)
class MatchScore:
    """Best counterparts of sources, all catalogs together: right, wrong, and how many wrong ones were foretold.

    ``n_true``: pairs of a source and a catalog that holds it; ``n_matched``: best candidates with probability over
    one half; ``n_wrong_expected``: the sum of 1 - probability over those.
    """

    n_true: int
    n_matched: int
    n_right: int
    n_wrong_expected: float

    @property
    def completeness(self) -> float:
        return _share(self.n_right, self.n_true)

    @property
    def n_wrong(self) -> int:
        return self.n_matched - self.n_right

    def rows(self) -> list[tuple[str, str, str]]:
        """For people: what was scored, the result, and the result in words."""
        words = (
            f"of the {self.n_true} pairs of source and catalog that holds it have the right best match; "
            f"{self.n_wrong} are wrong, {self.n_wrong_expected:.0f} by their probabilities"
        )
        return [("Counterparts", f"{self.completeness:.1%}", words)]


@dataclass(frozen=True)
class FoundScore:
    """Objects of one kind: how many there are, could be found with these data, were found, and were none."""

    n_true: int
    n_recoverable: int
    n_recovered: int
    n_selected: int
    n_false: int
    n_blended: int
    missed: tuple[str, ...]
    criterion: str

    @property
    def completeness(self) -> float:
        return _share(self.n_recovered, self.n_recoverable)

    def row(self) -> tuple[str, str]:
        """For people: the result, and the result in words."""
        blended = f", {self.n_blended} more are blends" if self.n_blended else ""
        return (
            f"{self.n_recovered} of {self.n_recoverable}",
            f"that these images can show ({self.n_true} in truth); {self.n_false} of {self.n_selected} selected "
            f"are not any{blended}. Selected: {self.criterion}",
        )


@dataclass(frozen=True)
class Score:
    """Everything that was compared; what was not given is None."""

    duplicates: DuplicateScore | None = None
    association: AssociationScore | None = None
    corrections: CorrectionScore | None = None
    matches: MatchScore | None = None
    variables: FoundScore | None = None
    transients: FoundScore | None = None

    def to_dict(self) -> dict[str, object]:
        """For JSON: counts as they are, and the ratios."""
        result: dict[str, object] = {name: value for name, value in asdict(self).items() if value is not None}
        for name, keys in (
            ("duplicates", ("completeness", "purity")),
            ("association", ("pair_recall", "pair_precision")),
            ("matches", ("completeness", "n_wrong")),
            ("variables", ("completeness",)),
            ("transients", ("completeness",)),
        ):
            part = getattr(self, name)
            if part is not None:
                result[name] = {**asdict(part), **{key: getattr(part, key) for key in keys}}
        return result


def score_survey(
    truth: SurveyTruth,
    *,
    measurements: pd.DataFrame,
    associations: pd.DataFrame,
    corrections: pd.DataFrame,
    sources: pd.DataFrame,
    variability: pd.DataFrame,
    cross_matches: pd.DataFrame | None = None,
) -> Score:
    """Compare all products with the truth.

    Parameters
    ----------
    truth : of the survey
    measurements : measurement_id, duplicate_of (missing where kept)
    associations : source_id, measurement_id
    corrections : epoch, image, position_applied, flux_applied, dra_applied_arcsec, ddec_applied_arcsec, dra_err_arcsec,
        ddec_err_arcsec, flux_mult, flux_mult_err; used where it is: flux_tie_err
    sources : those that are new, as `ProductsDatabase.new_sources` returns them: id (or source_id), is_new
    variability : as `score_variables` takes it
    cross_matches : source_id, catalog_type, catalog_source_id, rank, probability; not scored if not given
    """
    kept = measurements.loc[measurements["duplicate_of"].isna(), "measurement_id"]
    return Score(
        duplicates=score_duplicates(measurements, truth.measurements),
        association=score_association(associations, truth.measurements, kept=kept),
        corrections=score_corrections(corrections, truth.images),
        matches=None if cross_matches is None else score_matches(cross_matches, associations, truth),
        variables=score_variables(variability, associations, truth),
        transients=score_transients(sources, associations, truth),
    )


def score_duplicates(measurements: pd.DataFrame, truth: pd.DataFrame) -> DuplicateScore:
    """Count the repeats of each true source within an epoch, and which of the rows marked as duplicates are that.

    Parameters
    ----------
    measurements : measurement_id, duplicate_of (the id of the row kept in its place; missing where kept)
    truth : measurement_id, epoch, true_source, second_source; freq_mhz where there are several bands, which repeat
        nothing of each other
    """
    key = [name for name in ("epoch", "true_source", "freq_mhz") if name in truth]
    blended = truth["second_source"].notna().groupby([truth[name] for name in key]).transform("any")
    # Where one image sees a blend and the other does not, neither answer is right or wrong.
    clear = truth[truth["true_source"].notna() & ~blended.eq(True)]
    n_true = len(clear) - len(clear.drop_duplicates(key))
    source = clear.set_index("measurement_id")["true_source"]
    removed = measurements[measurements["duplicate_of"].notna()]
    own = removed["measurement_id"].map(source)
    removed = removed[own.notna()]
    right = removed["measurement_id"].map(source).to_numpy() == removed["duplicate_of"].map(source).to_numpy()
    return DuplicateScore(n_true=n_true, n_removed=len(removed), n_right=int(np.sum(right)))


def score_association(
    associations: pd.DataFrame, truth: pd.DataFrame, *, kept: pd.Series | None = None
) -> AssociationScore:
    """Pair recall and precision, numbers of sources, and how many true sources came out as exactly one source.

    Parameters
    ----------
    associations : source_id, measurement_id; a measurement may belong to several sources
    truth : measurement_id, true_source (any hashable; missing: no source), second_source (blends)
    kept : ids of the measurements that were to be associated; those in ``associations`` if not given. One that should
        be and is not counts as missing pairs
    """
    clear = truth[truth["true_source"].notna() & truth["second_source"].isna()]
    clear = clear[clear["measurement_id"].isin(associations["measurement_id"] if kept is None else kept)]
    true_sizes = clear["true_source"].value_counts()
    rows = associations[["source_id", "measurement_id"]].drop_duplicates()
    rows = rows.merge(clear[["measurement_id", "true_source"]], on="measurement_id")
    table = pd.DataFrame({name: pd.factorize(rows[name])[0] for name in rows.columns}, index=rows.index)

    # A pair that two sources share counts once, so sources with a shared measurement are counted pair by pair.
    shared = table["measurement_id"].duplicated(keep=False)
    entangled = table["source_id"].isin(table.loc[shared, "source_id"])
    plain = table[~entangled]
    found = _pairs(plain.groupby("source_id").size())
    right = _pairs(plain.groupby(["source_id", "true_source"]).size())
    some = table[entangled]
    both = some.merge(some, on="source_id", suffixes=("", "_b"))
    both = both[both["measurement_id"] < both["measurement_id_b"]]
    both = both.drop_duplicates(["measurement_id", "measurement_id_b"])
    found += len(both)
    right += int((both["true_source"] == both["true_source_b"]).sum())

    sizes = table.groupby(["source_id", "true_source"]).size().rename("together").reset_index()
    sizes["source_size"] = sizes["source_id"].map(table.groupby("source_id").size())
    uniques = pd.factorize(rows["true_source"])[1]
    sizes["true_size"] = true_sizes.reindex(uniques).to_numpy()[sizes["true_source"].to_numpy()]
    exact = (sizes["together"] == sizes["source_size"]) & (sizes["together"] == sizes["true_size"])
    return AssociationScore(
        n_measurements=len(clear),
        n_true_sources=len(true_sizes),
        n_sources=int(table["source_id"].nunique()),
        n_exact=int(sizes.loc[exact, "true_source"].nunique()),
        true_pairs=_pairs(true_sizes),
        found_pairs=found,
        right_pairs=right,
    )


def score_corrections(corrections: pd.DataFrame, truth: pd.DataFrame) -> CorrectionScore:
    """Residuals of the applied corrections against the true ones.

    Parameters
    ----------
    corrections : as in `score_survey`; images that were refused hold the identity
    truth : epoch, image, dra_arcsec, ddec_arcsec, flux_mult
    """
    right = truth.rename(columns={name: f"{name}_true" for name in ("dra_arcsec", "ddec_arcsec", "flux_mult")})
    both = right.merge(corrections, on=["epoch", "image"], suffixes=("_truth", ""), how="left")
    position = both["position_applied"].eq(True).to_numpy()
    flux = both["flux_applied"].eq(True).to_numpy()
    true_offset = both[["dra_arcsec_true", "ddec_arcsec_true"]].to_numpy(float)
    applied = both[["dra_applied_arcsec", "ddec_applied_arcsec"]].to_numpy(float)
    errors = both[["dra_err_arcsec", "ddec_err_arcsec"]].to_numpy(float)
    residual = (true_offset - np.nan_to_num(applied))[position]
    in_errors = residual / errors[position]
    true_scale = np.log(both["flux_mult_true"].to_numpy(float))
    scale = true_scale[flux] - np.log(both["flux_mult"].to_numpy(float)[flux])
    relative = both["flux_mult_err"].to_numpy(float) / both["flux_mult"].to_numpy(float)
    # What is common to the images of a field is as much off from the truth as what is an image's own.
    relative = np.hypot(relative, both["flux_tie_err"].to_numpy(float) if "flux_tie_err" in both else 0.0)[flux]
    return CorrectionScore(
        n_images=len(truth),
        n_position_applied=int(position.sum()),
        n_flux_applied=int(flux.sum()),
        offset_before_arcsec=_rms(true_offset),
        offset_after_arcsec=_rms(residual),
        offset_sigma=_rms(in_errors),
        offset_within_2_sigma=_mean(np.abs(in_errors) < 2),
        scale_before=_rms(true_scale),
        scale_after=_rms(scale),
        scale_sigma=_rms(scale / relative),
        scale_within_2_sigma=_mean(np.abs(scale / relative) < 2),
    )


def score_matches(cross_matches: pd.DataFrame, associations: pd.DataFrame, truth: SurveyTruth) -> MatchScore:
    """Best counterparts of sources that show one true source and nothing else.

    Parameters
    ----------
    cross_matches : source_id, catalog_type, catalog_source_id, rank, probability
    associations : source_id, measurement_id
    """
    rows = associations[["source_id", "measurement_id"]].merge(truth.measurements, on="measurement_id")
    whole = rows.groupby("source_id").agg(
        true_source=("true_source", "first"),
        n_true=("true_source", lambda values: values.nunique(dropna=False)),
        blended=("second_source", lambda values: values.notna().any()),
    )
    clear = whole.loc[(whole["n_true"] == 1) & ~whole["blended"].astype(bool) & whole["true_source"].notna()]
    best = cross_matches[(cross_matches["rank"] == 1) & (cross_matches["probability"] > 0.5)]
    best = best.merge(clear[["true_source"]], left_on="source_id", right_index=True)
    entries = truth.counterparts.rename(columns={"catalog": "catalog_type"})
    best = best.merge(entries, on=["catalog_type", "catalog_source_id"], how="left", suffixes=("", "_entry"))
    right = (best["true_source"] == best["true_source_entry"]) | (best["true_source"] == best["second_source"])
    held = pd.concat(
        [
            entries[["catalog_type", "true_source"]],
            entries[["catalog_type", "second_source"]].rename(columns={"second_source": "true_source"}),
        ]
    ).dropna()
    possible = clear.reset_index()[["source_id", "true_source"]].merge(held.drop_duplicates(), on="true_source")
    return MatchScore(
        n_true=len(possible),
        n_matched=len(best),
        n_right=int(right.sum()),
        n_wrong_expected=float((1.0 - best["probability"]).sum()),
    )


def score_variables(
    variability: pd.DataFrame,
    associations: pd.DataFrame,
    truth: SurveyTruth,
    *,
    max_q: float | None = None,
    min_epochs: int = 3,
) -> FoundScore:
    """Variables among the sources whose q-value is small: the share of constant ones to be expected among them.

    A true variable counts as recoverable if it was detected alone in ``min_epochs`` epochs, its true fluxes there have
    V >= 0.1, and with the noise of the images they are expected to scatter as one in ten thousand constant sources
    does. Transients that are selected are no mistake.

    Parameters
    ----------
    variability : the table of that name, of all sources; or source_id and p_value_peak, which then are taken as right
    associations : source_id, measurement_id
    max_q : largest q-value; that of the configuration's default if not given
    """
    max_q = Variability().max_q if max_q is None else max_q
    table = variability
    if "sample" in table:
        table = table[table["sample"] == "detections"]
    chosen = table[_q_values(table) <= max_q].drop_duplicates("source_id")
    seen = _first_band(_seen(truth), truth)
    seen = seen[seen["second_source"].isna()]
    points = seen.drop_duplicates(["true_source", "epoch"])
    grouped = points.groupby("true_source")
    weight = 1.0 / points["rms_mjy_beam"] ** 2
    mean = (points["true_flux_mjy"] * weight).groupby(points["true_source"]).sum() / weight.groupby(
        points["true_source"]
    ).sum()
    deviation = (points["true_flux_mjy"] - points["true_source"].map(mean)) ** 2 * weight
    n = grouped.size()
    chi_squared = deviation.groupby(points["true_source"]).sum() + (n - 1)
    expected_p = pd.Series(chi2.sf(chi_squared, (n - 1).clip(lower=1)), index=n.index)
    v = grouped["true_flux_mjy"].std() / grouped["true_flux_mjy"].mean()
    names = _of_class(truth, "variable")
    able = n.index[(n >= min_epochs) & (expected_p < VARIABLE_P_VALUE) & (v >= _RECOVERABLE_V)]
    return _found(
        chosen["source_id"],
        associations,
        truth,
        names=names,
        recoverable=names & set(able),
        allowed=_of_class(truth, "transient"),
        criterion=f"q <= {max_q:g}, peak fluxes",
    )


def _first_band(seen: pd.DataFrame, truth: SurveyTruth) -> pd.DataFrame:
    """Detections in images at the survey's own frequency: what is expected of a light curve is expected of one band."""
    if "freq_mhz" not in truth.images:
        return seen
    first = truth.images["freq_mhz"] == truth.images["freq_mhz"].iloc[0]
    return seen[seen["image"].isin(truth.images.loc[first, "image"])]


def _q_values(variability: pd.DataFrame) -> Floats:
    """Q-value of each source by its peak fluxes, as people are given it."""
    if "eta_peak" in variability:
        return significances(variability, "peak")["q_value_peak"].to_numpy(dtype=float)
    with np.errstate(divide="ignore"):
        return benjamini_hochberg(np.log10(variability["p_value_peak"].to_numpy(dtype=float)))


def score_transients(
    sources: pd.DataFrame, associations: pd.DataFrame, truth: SurveyTruth, *, min_snr: float = 10.0
) -> FoundScore:
    """Transients among the sources that appeared where earlier images would have shown them.

    A transient counts as recoverable if any of its detections would have had ``min_snr`` in the noise of the image that
    holds it. Variables that are selected are no mistake: they were faint before.

    Parameters
    ----------
    sources : as `ProductsDatabase.new_sources` returns them: id (or source_id), is_new
    """
    table = sources.rename(columns={"id": "source_id"}) if "source_id" not in sources else sources
    chosen = table[table["is_new"].astype(bool)]
    seen = _seen(truth)
    bright = seen[seen["true_flux_mjy"] >= min_snr * seen["rms_mjy_beam"]]
    names = _of_class(truth, "transient")
    return _found(
        chosen["source_id"],
        associations,
        truth,
        names=names,
        recoverable=names & set(bright["true_source"]),
        allowed=_of_class(truth, "variable"),
        criterion="new, as earlier images and catalogs would have shown it",
    )


def format_report(score: Score) -> Table:
    """The score as a table for the terminal, in the words of the field."""
    table = Table(title="Recovered against the truth", title_justify="left", show_lines=False)
    table.add_column("What")
    table.add_column("Result", justify="right")
    table.add_column("In words", overflow="fold")
    for part in (score.duplicates, score.association, score.corrections, score.matches):
        for row in part.rows() if part is not None else ():
            table.add_row(*row)
    for what, found in (("Variables", score.variables), ("Transients", score.transients)):
        if found is not None:
            table.add_row(what, *found.row())
    return table


def _seen(truth: SurveyTruth) -> pd.DataFrame:
    """Detections of true sources with the noise of their image."""
    rows = truth.measurements[truth.measurements["true_source"].notna()]
    return rows.merge(truth.images[["epoch", "image", "rms_mjy_beam"]], on=["epoch", "image"])


def _of_class(truth: SurveyTruth, name: str) -> set[str]:
    return set(truth.sources.loc[truth.sources["source_class"] == name, "true_source"])


def _found(
    selected: pd.Series,
    associations: pd.DataFrame,
    truth: SurveyTruth,
    *,
    names: set[str],
    recoverable: set[str],
    allowed: set[str],
    criterion: str,
) -> FoundScore:
    """Translate selected sources to true ones (the one that most of their measurements show) and count."""
    rows = associations.loc[associations["source_id"].isin(selected), ["source_id", "measurement_id"]]
    rows = rows.merge(truth.measurements[["measurement_id", "true_source", "second_source"]], on="measurement_id")
    blended = set(rows.loc[rows["second_source"].notna(), "source_id"])
    counts = rows.groupby(["source_id", "true_source"]).size().rename("n").reset_index()
    counts = counts.sort_values(["n", "true_source"], ascending=[False, True], kind="stable")
    main = counts.drop_duplicates("source_id").set_index("source_id")["true_source"]
    of = pd.Series(selected.unique(), dtype=object).map(main)
    ids = pd.Series(selected.unique(), dtype=object)
    wrong = ~of.isin(names | allowed)
    blend = wrong & ids.isin(blended)
    recovered = recoverable & set(of.dropna())
    return FoundScore(
        n_true=len(names),
        n_recoverable=len(recoverable),
        n_recovered=len(recovered),
        n_selected=len(ids),
        n_false=int((wrong & ~blend).sum()),
        n_blended=int(blend.sum()),
        missed=tuple(sorted(recoverable - recovered)),
        criterion=criterion,
    )


def _pairs(sizes: pd.Series) -> int:
    counts = sizes.to_numpy(np.int64)
    return int((counts * (counts - 1) // 2).sum())


def _share(part: int, whole: int) -> float:
    """NaN where there was nothing to find: neither success nor failure."""
    return part / whole if whole else float("nan")


def _statistic(function: Callable[[Floats], np.floating], values: npt.ArrayLike) -> float:
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    return float(function(finite)) if finite.size else float("nan")


def _rms(values: npt.ArrayLike) -> float:
    return _statistic(lambda x: np.sqrt(np.mean(x**2)), values)


def _mean(values: npt.ArrayLike) -> float:
    return _statistic(np.mean, values)
