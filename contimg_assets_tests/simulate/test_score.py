"""The score: full marks for the truth itself, and the right marks for known mistakes."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from contimg_assets.simulate import (
    SurveyParameters,
    SurveyTruth,
    format_report,
    score_association,
    score_survey,
    simulate_detections,
    simulate_survey,
)
from contimg_assets.simulate.score import (
    score_corrections,
    score_duplicates,
    score_matches,
    score_transients,
    score_variables,
)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> SurveyTruth:
    return simulate_survey(tmp_path_factory.mktemp("survey"), SurveyParameters(n_epochs=5, images_per_epoch=6))


def _perfect(truth: SurveyTruth) -> dict[str, pd.DataFrame]:
    """Products of a pipeline that knows the truth."""
    rows = truth.measurements
    named = rows["true_source"].fillna("noise-" + rows["measurement_id"])
    first = rows.groupby([rows["epoch"], named])["measurement_id"].transform("first")
    measurements = rows[["measurement_id"]].assign(duplicate_of=first.where(first != rows["measurement_id"]))
    kept = measurements["duplicate_of"].isna()
    associations = pd.DataFrame({"source_id": named, "measurement_id": rows["measurement_id"]})[kept]
    images = truth.images
    corrections = images[["epoch", "image", "flux_mult"]].assign(
        position_applied=True,
        flux_applied=True,
        dra_arcsec=images["dra_arcsec"],
        ddec_arcsec=images["ddec_arcsec"],
        dra_applied_arcsec=images["dra_arcsec"],
        ddec_applied_arcsec=images["ddec_arcsec"],
        dra_err_arcsec=0.1,
        ddec_err_arcsec=0.1,
        flux_mult_err=0.01,
    )
    kind = truth.sources.set_index("true_source")["source_class"]
    sources = pd.DataFrame({"id": associations["source_id"].unique()})
    sources["is_new"] = sources["id"].map(kind).eq("transient")
    sources["new_significance"] = np.where(sources["is_new"], 20.0, np.nan)
    variability = pd.DataFrame({"source_id": sources["id"], "sample": "detections"})
    varies = sources["id"].map(kind).eq("variable")
    variability["v_peak"] = np.where(varies, 0.5, 0.01)
    variability["p_value_peak"] = np.where(varies, 1e-9, 0.5)
    clear = truth.measurements.loc[truth.measurements["second_source"].isna(), ["true_source"]].drop_duplicates()
    cross_matches = clear.merge(truth.counterparts, on="true_source").rename(
        columns={"true_source": "source_id", "catalog": "catalog_type"}
    )
    cross_matches = cross_matches.assign(rank=1, probability=0.99)
    return {
        "cross_matches": cross_matches,
        "measurements": measurements,
        "associations": associations,
        "corrections": corrections,
        "sources": sources,
        "variability": variability,
    }


def test_the_truth_gets_full_marks(truth: SurveyTruth) -> None:
    score = score_survey(truth, **_perfect(truth))
    assert score.duplicates is not None and score.duplicates.completeness == 1 and score.duplicates.purity == 1
    assert score.association is not None
    assert score.association.pair_recall == score.association.pair_precision == 1
    assert score.association.n_exact == score.association.n_true_sources == score.association.n_sources > 100
    assert score.corrections is not None
    assert score.corrections.offset_after_arcsec == score.corrections.scale_after == 0
    assert score.matches is not None and score.matches.n_wrong == 0
    assert score.matches.completeness > 0.98, "some are only the second source of a catalogue's blend"
    assert score.corrections.offset_before_arcsec == pytest.approx(1.0, abs=0.3)
    for part in (score.variables, score.transients):
        assert part is not None
        assert part.completeness == 1 and part.n_false == 0 and part.missed == ()
        assert 0 < part.n_recoverable <= part.n_true


def test_the_report_says_it_in_words(truth: SurveyTruth) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(format_report(score_survey(truth, **_perfect(truth))))
    text = console.export_text()
    for words in (
        "Duplicates",
        "100.00%",
        "image offset",
        "Flux scales",
        "Counterparts",
        "Variables",
        "Transients",
        "0 of",
    ):
        assert words in text


def _truth_of(labels: str) -> pd.DataFrame:
    """One measurement a letter; capitals are blends, '-' is no source."""
    return pd.DataFrame(
        {
            "measurement_id": [f"m{k}" for k in range(len(labels))],
            "true_source": [None if x == "-" else x.lower() for x in labels],
            "second_source": ["z" if x.isupper() else None for x in labels],
        }
    )


def _associated(sources: str) -> pd.DataFrame:
    """One measurement a letter, its source the letter; '-' is left out."""
    return pd.DataFrame({"source_id": list(sources), "measurement_id": [f"m{k}" for k in range(len(sources))]}).query(
        "source_id != '-'"
    )


def test_a_split_source_misses_pairs_and_a_joined_one_has_wrong_ones() -> None:
    split = score_association(_associated("xxyz"), _truth_of("aaab"))
    assert (split.true_pairs, split.found_pairs, split.right_pairs) == (3, 1, 1)
    assert (split.n_true_sources, split.n_sources, split.n_exact) == (2, 3, 1)
    joined = score_association(_associated("xxxx"), _truth_of("aaab"))
    assert (joined.true_pairs, joined.found_pairs, joined.right_pairs) == (3, 6, 3)
    assert joined.pair_precision == 0.5 and joined.wrong_or_missing_pairs == 3


def test_a_pair_that_two_sources_share_counts_once() -> None:
    forked = pd.DataFrame(
        {"source_id": ["x", "x", "x", "y", "y", "y"], "measurement_id": ["m0", "m1", "m2", "m0", "m1", "m3"]}
    )
    got = score_association(forked, _truth_of("aaab"))
    assert (got.true_pairs, got.found_pairs, got.right_pairs) == (3, 5, 3)


def test_blends_and_noise_do_not_count_and_what_is_lost_does() -> None:
    got = score_association(_associated("xxxx"), _truth_of("aaA-"))
    assert (got.n_measurements, got.true_pairs, got.found_pairs) == (2, 1, 1)
    truth = _truth_of("aaa")
    lost = score_association(_associated("xx-"), truth, kept=truth["measurement_id"])
    assert (lost.true_pairs, lost.right_pairs) == (3, 1)
    nothing = score_association(_associated("---"), truth)
    assert np.isnan(nothing.pair_recall) and nothing.n_sources == 0


def test_pairs_equal_those_counted_one_by_one() -> None:
    rng = np.random.default_rng(3)
    truth = pd.concat(simulate_detections(60, 6, blend_fraction=0.1), ignore_index=True)
    guess = pd.DataFrame(
        {
            "source_id": rng.integers(0, 50, 2 * len(truth)).astype(str),
            "measurement_id": rng.choice(truth["measurement_id"], 2 * len(truth)),
        }
    )
    label = truth[truth["second_source"].isna()].set_index("measurement_id")["true_source"].to_dict()
    seen = sorted(set(guess["measurement_id"]) & set(label))
    members = {m: set(guess.loc[guess["measurement_id"] == m, "source_id"]) for m in seen}
    pairs = [(a, b) for k, a in enumerate(seen) for b in seen[k + 1 :]]
    true = {p for p in pairs if label[p[0]] == label[p[1]]}
    found = {p for p in pairs if members[p[0]] & members[p[1]]}
    got = score_association(guess, truth)
    assert (got.true_pairs, got.found_pairs, got.right_pairs) == (len(true), len(found), len(true & found))


def test_a_correction_with_the_wrong_sign_is_worse_than_none(truth: SurveyTruth) -> None:
    wrong = _perfect(truth)["corrections"]
    wrong[["dra_applied_arcsec", "ddec_applied_arcsec"]] *= -1
    wrong["flux_mult"] = 1 / wrong["flux_mult"]
    got = score_corrections(wrong, truth.images)
    assert got.offset_after_arcsec == pytest.approx(2 * got.offset_before_arcsec)
    assert got.scale_after == pytest.approx(2 * got.scale_before)
    assert got.offset_sigma == pytest.approx(got.offset_after_arcsec / 0.1)


def test_refused_images_are_counted_and_left_out(truth: SurveyTruth) -> None:
    table = _perfect(truth)["corrections"]
    refused = table.index[:3]
    table.loc[refused, ["position_applied", "flux_applied"]] = False
    table.loc[refused, ["dra_applied_arcsec", "ddec_applied_arcsec"]] = 0.0
    got = score_corrections(table.iloc[:-1], truth.images)
    assert got.n_images == len(truth.images)
    assert got.n_position_applied == got.n_flux_applied == len(truth.images) - 4
    assert got.offset_after_arcsec == 0


def test_duplicates_of_the_wrong_row_are_wrong() -> None:
    truth = _truth_of("aab").assign(epoch="e")
    marked = pd.DataFrame({"measurement_id": ["m0", "m1", "m2"], "duplicate_of": [None, "m0", "m0"]})
    got = score_duplicates(marked, truth)
    assert (got.n_true, got.n_removed, got.n_right) == (1, 2, 1)


def test_constant_sources_that_are_selected_are_false_and_blends_are_named_so(truth: SurveyTruth) -> None:
    products = _perfect(truth)
    table = products["variability"].assign(v_peak=0.5, p_value_peak=1e-9)
    got = score_variables(table, products["associations"], truth)
    blended = truth.measurements.loc[truth.measurements["second_source"].notna(), "true_source"].nunique()
    assert got.n_recovered == got.n_recoverable
    assert 0 < got.n_blended <= blended
    assert got.n_false + got.n_blended > 0.8 * len(table)
    nothing = score_transients(products["sources"].assign(is_new=False), products["associations"], truth)
    assert nothing.n_recovered == 0 and len(nothing.missed) == nothing.n_recoverable


def test_the_score_is_plain_data(truth: SurveyTruth) -> None:
    text = json.dumps(score_survey(truth, **_perfect(truth)).to_dict())
    assert json.loads(text)["association"]["pair_recall"] == 1.0


def test_counterparts_exchanged_are_wrong(truth: SurveyTruth) -> None:
    products = _perfect(truth)
    table = products["cross_matches"].sort_values(["catalog_type", "source_id"], ignore_index=True)
    table["catalog_source_id"] = np.roll(table["catalog_source_id"].to_numpy(), 1)
    got = score_matches(table, products["associations"], truth)
    assert got.n_right < 0.02 * got.n_matched
    assert got.n_wrong_expected == pytest.approx(0.01 * got.n_matched)
