"""The checks of the stages: each fails where it must, says what and where, and passes where all is well."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Checks, Corrections
from contimg_assets.pipeline.quality import (
    association_rate,
    expected_counterparts,
    implausible_corrections,
    judge_matches,
    positions_outside_field,
    too_few_associations,
    too_few_matches,
)

IMAGES = pd.DataFrame({"image": ["a", "b"], "ra_deg": [359.9, 10.0], "dec_deg": [16.0, 89.5], "radius_deg": [1.0, 1.0]})


def detections(image: str, ra_deg: float, dec_deg: float) -> pd.DataFrame:
    return pd.DataFrame({"image": [image], "ra_deg": [ra_deg], "dec_deg": [dec_deg]})


def test_positions_outside_field_across_ra_0_and_over_the_pole():
    near = pd.concat([detections("a", 0.5, 16.0), detections("b", 190.0, 89.9)])
    assert positions_outside_field(IMAGES, near, 1.0) == []
    (sentence,) = positions_outside_field(IMAGES, pd.concat([near, detections("a", 2.0, 16.0)]), 1.5)
    assert sentence.startswith("1 detection(s) of image 'a'")
    # Right ascension and declination swapped.
    assert positions_outside_field(IMAGES, detections("a", 16.0, 0.5), 2.0)
    assert positions_outside_field(IMAGES, near.iloc[:0], 1.0) == []


def test_too_few_matches():
    summary = pd.DataFrame(
        {"catalog": ["nvss", "nvss", "first"], "n_covered": [60, 40, 5], "n_matched": [1, 1, 0]},
    )
    (sentence,) = too_few_matches(summary, Checks(min_matched_fraction=0.05, min_covered=30))
    assert "2 of 100" in sentence
    assert "'nvss'" in sentence
    assert too_few_matches(summary, Checks(min_matched_fraction=0.01)) == []
    assert too_few_matches(summary.iloc[:0], Checks()) == []


def test_a_catalog_is_judged_by_its_own_sources():
    """A catalog of 46 sources cannot have more counterparts than that; one that fails does so alone."""
    summary = pd.DataFrame({"catalog": ["icrf", "nvss"], "n_covered": [12442, 12442], "n_matched": [31, 9000]})
    alone = judge_matches(summary, Checks())
    assert list(alone.of_catalogs) == ["icrf"]
    assert alone.of_epoch == []
    assert judge_matches(summary, Checks(), {"icrf": 46}).failed == {}
    verdict = judge_matches(summary, Checks(), {"icrf": 2000})
    assert verdict.failed["icrf"].startswith("only 31 of 2000 sources of 'icrf' that the images should show")
    assert judge_matches(summary, Checks(), {"icrf": 2000}, {"icrf": 0.01}).failed == {}
    lost = judge_matches(summary.assign(n_matched=3), Checks())
    assert len(lost.of_epoch) == 2
    assert lost.of_catalogs == {}


def test_what_images_should_show_of_a_catalog():
    rows = {"catalog_source_id": list("abcd"), "ra_deg": [359.9, 0.1, 0.2, 90.0], "dec_deg": 16.0}
    table = pd.DataFrame(rows | {"flux_mjy": [100.0, np.nan, 1.0, 100.0]})
    catalog = ReferenceCatalog("c", table, freq_mhz=1e3, beam_arcsec=10)
    images = IMAGES.assign(freq_mhz=1e3, rms_mjy_beam=1.0)
    assert expected_counterparts(catalog, pd.concat([images, images]), -0.7) == 1


def test_too_few_associations():
    seen_again = {"n_matched": 90, "n_unmatched_in_coverage": 10}
    assert association_rate(seen_again) == 0.9
    assert too_few_associations(seen_again, Checks()) == []
    lost = {"n_matched": 10, "n_unmatched_in_coverage": 90}
    (sentence,) = too_few_associations(lost, Checks())
    assert "10% of the 100" in sentence
    first = {"n_matched": 0, "n_unmatched_in_coverage": None}
    assert association_rate(first) is None
    assert too_few_associations(first, Checks()) == []
    assert too_few_associations({"n_matched": 0, "n_unmatched_in_coverage": 5}, Checks()) == []


def test_implausible_corrections():
    table = pd.DataFrame(
        {
            "image": ["good", "far", "faint", "few"],
            "dra_arcsec": [1.0, 30.0, 0.0, 50.0],
            "ddec_arcsec": [-1.0, 0.0, 0.0, np.nan],
            "n_position": [100, 100, 100, 2],
            "flux_scale": [1.05, 1.0, 0.2, 9.0],
            "n_flux": [100, 100, 100, 2],
            "flux_catalog": ["nvss"] * 4,
        }
    )
    far, faint = implausible_corrections(table, Corrections())
    assert far.startswith("the position offset of image 'far', 30.0 arcsec, is larger")
    assert faint.startswith("the fluxes of image 'faint' are 0.20 times those of nvss")
