"""What needs eyes: told where something does, by field, in any order of the images; quiet where all is well."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contimg_assets.config import Config
from contimg_assets.database.survey_summary import Listed, relative_eta
from contimg_assets.pipeline import findings as module
from contimg_assets.pipeline.findings import (
    fields,
    fields_of_few,
    fields_of_many,
    findings,
    headline,
    look,
    verdicts,
)
from contimg_assets.sky.sphere import unit_vectors
from contimg_assets_tests.projects import TestProject

COUNTS = Listed(
    flux_kind="peak",
    has_peaks=True,
    n_sources=1000,
    n_judged=800,
    n_variables=30,
    n_variables_false=1.5,
    median_eta=1.02,
    n_new=4,
    n_new_false=0.2,
)
CONFIG = Config.model_validate({"catalogs": {"nvss": {"path": "nvss.csv", "freq_mhz": 1400, "beam_arcsec": 45}}})


def images(n: int = 6, **columns: object) -> pd.DataFrame:
    """Images of one field a number, all well, but for the columns that are given."""
    table = {
        "epoch": [f"e{k}" for k in range(n)],
        "image": [f"e{k}_a" for k in range(n)],
        "ra_deg": np.arange(n) * 3.0,
        "dec_deg": 16.0,
        "radius_deg": 1.5,
        "trusted": True,
        "applied": True,
        "position_applied": True,
        "flux_applied": True,
        "n_position": 50,
        "n_flux": 40,
        "reason": None,
    } | columns
    made = pd.DataFrame(table, index=np.arange(n))
    return made.assign(verdict=verdicts(made))


def told(table: pd.DataFrame, counts: Listed = COUNTS, config: Config = CONFIG) -> list[str]:
    """Findings, each as one sentence."""
    return [
        f"{row.subject}: {row.what} ({row.why}); {row.cure}" for row in findings(table, counts, config).itertuples()
    ]


def test_a_catalog_without_any_counterpart_is_named() -> None:
    assert told(images(), replace(COUNTS, matched=("nvss",))) == []
    (found,) = told(images(), replace(COUNTS, matched=()))
    assert found.startswith("catalog nvss: no source has a counterpart in it (it is of another part of the sky")
    assert found.endswith("`contimg catalog remove nvss`")


def test_nothing_is_found_where_all_is_well() -> None:
    assert told(images()) == []
    assert headline(images(), COUNTS) == (
        "6 image(s): 6 good. 1000 sources; 30 of 800 with two or more fluxes vary, about 2 by chance; 4 new, less "
        "than 1 by chance."
    )


def test_a_refused_image_is_named_first_with_its_reason() -> None:
    reasons = [None, "flux: 9 usable matches, at least 10 needed", None, "flux: the scale, 0.179, differs", None, None]
    table = images(
        reason=reasons,
        trusted=[True, True, True, False, True, True],
        applied=[True, False, True, False, True, True],
        flux_applied=[True, False, True, False, True, True],
    )
    assert table["verdict"].tolist() == ["good", "not corrected", "good", "refused", "good", "good"]
    first, second = told(table)
    assert first.startswith("image e3_a of epoch e3: refused: takes no part in light curves")
    assert "the scale, 0.179" in first
    assert second.startswith("image e1_a of epoch e1: fluxes are not corrected (flux: 9 usable matches")
    assert "corrections.min_matches (10)" in second
    assert headline(table, COUNTS).startswith("6 image(s): 4 good, 1 not corrected, 1 refused.")


@pytest.mark.parametrize(("ra", "dec"), [((359.99, 0.01, 359.995), 16.0), ((10.0, 130.0, 250.0), 89.95)])
def test_images_of_one_field_are_told_together(ra: tuple[float, ...], dec: float) -> None:
    """Across RA 0, and at a pole, where right ascensions say nothing."""
    table = images(
        4,
        ra_deg=[*ra, 180.0],
        dec_deg=[dec] * 3 + [-30.0],
        applied=[False, False, False, True],
        position_applied=[False, False, True, True],
        flux_applied=[False, False, False, True],
        reason=["x", "y", "z", None],
    )
    assert len(set(fields(table)[:3])) == 1
    both, fluxes = told(table)
    assert both.startswith("2 images at RA")
    assert "positions and fluxes are not corrected" in both
    assert fluxes.startswith("image e2_a of epoch e2: fluxes are not corrected")


def test_fields_are_told_apart_and_their_numbers_do_not_depend_on_order() -> None:
    table = images(6, ra_deg=[0.0, 2.0, 0.01, 2.01, 359.99, 1.99])
    number = fields(table)
    shuffled = table.sample(frac=1, random_state=3)
    same = number[:, None] == number
    assert (
        same
        == (np.round(table["ra_deg"]).mod(360).to_numpy()[:, None] == np.round(table["ra_deg"]).mod(360).to_numpy())
    ).all()
    again = pd.Series(fields(shuffled), shuffled.index).sort_index().to_numpy()
    assert (same == (again[:, None] == again)).all()
    assert len(fields(table[:0])) == 0


@pytest.mark.parametrize("dec_deg", [0.0, 50.0, 89.9, -90.0])
def test_fields_of_few_pointings_are_those_of_many(dec_deg: float) -> None:
    rng = np.random.default_rng(3)
    for n in (0, 1, 2, 60, 200):
        ra, dec = rng.uniform(-4.0, 4.0, n), np.clip(rng.normal(dec_deg, 4.0, n), -90.0, 90.0)
        vectors, near_arcsec = unit_vectors(ra, dec), rng.uniform(600.0, 3600.0, n)
        few, many = fields_of_few(vectors, near_arcsec), fields_of_many(vectors, near_arcsec)
        np.testing.assert_array_equal(few, many)
    assert 1 < few.max() < 199


def test_a_field_with_few_ties_is_told() -> None:
    (sentence,) = told(images(3, ra_deg=10.0, n_flux=[12, 13, 30]))
    assert sentence.startswith("3 images at RA 10.00 Dec +16.00")
    assert "fluxes rest on 13 matches an image (10 are needed at least)" in sentence


def test_what_a_survey_cannot_give_is_told() -> None:
    bare = replace(COUNTS, has_peaks=False, n_judged=0, n_variables=0, n_new=0)
    table = images(applied=False, position_applied=False, flux_applied=False, reason="position: no catalog")
    sentences = told(table, bare, Config())
    assert [sentence.partition(":")[0] for sentence in sentences] == [
        "reference catalogs",
        "peak fluxes",
        "light curves",
    ]
    assert headline(table, bare).endswith("0 of 0 with two or more fluxes vary; 0 new.")


def test_more_variables_than_any_sky_has_are_told() -> None:
    (sentence,) = told(images(), replace(COUNTS, n_variables=400))
    assert sentence.startswith("variables: 50% of the sources")


@pytest.mark.parametrize(("eta", "told_of"), [(1.0, False), (0.81, False), (1.24, False), (0.5, True), (2.25, True)])
def test_errors_that_are_not_what_constant_sources_scatter_by_are_told(eta: float, told_of: bool) -> None:
    sentences = told(images(), replace(COUNTS, median_eta=eta))
    assert [f"scatter {np.sqrt(eta):.2f} times as much" in sentence for sentence in sentences] == [True] * told_of
    assert told(images(), replace(COUNTS, median_eta=None)) == []


@pytest.mark.parametrize("points", [3, 4, 20])
def test_eta_of_constant_sources_with_right_errors_is_one(points: int) -> None:
    """Also of few points, whose plain median is lower."""
    flux = np.random.default_rng(1).normal(100.0, 2.0, (20_000, points))
    eta, n = pd.Series(flux.var(axis=1, ddof=1) / 4.0), pd.Series(np.full(20_000, points))
    assert relative_eta(eta, n) == pytest.approx(1.0, abs=0.03)
    assert relative_eta(4.0 * eta, n) == pytest.approx(4.0, rel=0.03)
    assert relative_eta(eta[:10], n[:10]) is None


@pytest.mark.slow
def test_a_project_is_looked_at_and_its_lists_counted_once(
    project: TestProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def see() -> module.Look | None:
        return look(project.project.config, project.project.products)

    assert see() is None
    project.deliver(*project.epochs[:2])
    assert project.run().complete
    first = see()
    assert first is not None
    assert len(first.images) == len(project.project.products.read_table("images"))
    assert first.listed.n_sources == len(project.project.products.read_table("sources"))
    with monkeypatch.context() as patch:
        patch.setattr(module, "listed", lambda *_: pytest.fail("counted again"))
        again = see()
    assert again is not None
    assert again.headline == first.headline
    pd.testing.assert_frame_equal(again.findings, first.findings)
    # A memory that is damaged, and one of another state, are not believed.
    kept = Path(project.project.config.store) / "listed_sources.json"
    kept.write_text("{", encoding="utf-8")
    assert see().headline == first.headline  # type: ignore[union-attr]
    project.deliver(project.epochs[2])
    assert project.run().complete
    after = see()
    assert after is not None
    assert after.listed.n_sources == len(project.project.products.read_table("sources"))
    assert json.loads(kept.read_text(encoding="utf-8"))["listed"]["n_sources"] == after.listed.n_sources


def test_frequencies_that_an_edge_of_bands_divides_are_told() -> None:
    table = images(2, freq_mhz=np.array([1450.0, 1456.0]))
    (sentence,) = told(table)
    assert sentence.startswith("images at 1450 and 1456 MHz: lie in different bands")
    assert "`bands.ranges_mhz` with [1450, 1456]" in sentence
    assert told(table.assign(freq_mhz=[1400.0, 1405.0])) == []


def test_images_of_one_pointing_are_of_one_field_however_often_it_is_seen() -> None:
    once = images(4, ra_deg=[10.0, 10.2, 50.0, np.nextafter(10.0, 11.0)])
    often = pd.concat([once] * 5, ignore_index=True)
    number = fields(often).reshape(5, 4)
    assert (number == number[0]).all()
    assert (number[0][[0, 1, 3]] == number[0][0]).all()
    assert number[0][2] != number[0][0]


def test_no_field_is_looked_for_where_none_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    # `contimg status` took a third of its time to find fields of thousands of images that are all well.
    monkeypatch.setattr(module, "fields", lambda _: pytest.fail("nobody asks"))
    assert findings(images(), COUNTS, CONFIG).empty
