"""All the science in a row, without Dagster and database, against the truth: at RA 0, in the south, at the pole.

A wrong sign, a swapped axis or a lost cosine in any stage shows here as a residual many times its quoted error.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from contimg_assets.association.fold import fold
from contimg_assets.association.state import FoldState
from contimg_assets.calibration import apply_corrections, measure_corrections
from contimg_assets.catalogs.store import ReferenceCatalog, build_catalog
from contimg_assets.config import CatalogConfig, Config
from contimg_assets.crossmatch.matches import match_catalogs
from contimg_assets.ingest.epoch import read_epoch
from contimg_assets.ingest.measurements import measure
from contimg_assets.simulate import SurveyParameters, SurveyTruth, score_association, simulate_survey
from contimg_assets.simulate.score import score_corrections, score_duplicates
from contimg_assets.sky.sphere import offsets_arcsec

STRIPS: Mapping[str, dict[str, float]] = {
    "RA 0, north": {"centre_ra_deg": 0.0, "centre_dec_deg": 16.0},
    "south": {"centre_ra_deg": 200.0, "centre_dec_deg": -55.0},
    "pole": {"centre_ra_deg": 77.0, "centre_dec_deg": 89.0},
}


class _Chain(NamedTuple):
    truth: SurveyTruth
    measurements: pd.DataFrame
    corrected: pd.DataFrame
    associations: pd.DataFrame
    matches: pd.DataFrame
    corrections: pd.DataFrame


@pytest.fixture(scope="module", params=STRIPS, ids=str)
def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> _Chain:
    out = tmp_path_factory.mktemp("strip")
    parameters = SurveyParameters(n_epochs=4, images_per_epoch=5, n_sources=1200, seed=8, **STRIPS[request.param])
    truth = simulate_survey(out, parameters)
    config = Config(
        catalogs={
            c.name: CatalogConfig(
                path=Path(f"catalogs/{c.name}.parquet"), freq_mhz=c.freq_mhz, beam_arcsec=c.beam_arcsec
            )
            for c in parameters.catalogs
        },
        corrections={"position_catalogs": ("first_like", "nvss_like"), "flux_catalogs": ("nvss_like", "first_like")},
        root=out,
    )
    catalogs = [
        ReferenceCatalog(name, build_catalog(name, settings, out)) for name, settings in config.catalogs.items()
    ]
    state, tables = FoldState.empty(), {name: [] for name in _Chain._fields[1:]}
    for epoch in truth.images.sort_values("mjd")["epoch"].unique():
        delivered = read_epoch(out / "incoming" / epoch, epoch, config)
        measurements = measure(delivered.detections, delivered.images, config.measurements)
        kept = measurements[measurements["duplicate_of"].isna()].assign(epoch=epoch)
        folded = fold(state, kept, config.association, delivered.images)
        state = folded.state
        found = match_catalogs(measurements, delivered.images, catalogs, config.matching, folded.associations)
        corrections = measure_corrections(measurements, found.matches, delivered.images, config.corrections)
        made = (measurements, apply_corrections(measurements, corrections), folded.associations, found.matches)
        for name, table in zip(_Chain._fields[1:], (*made, corrections.assign(epoch=epoch)), strict=True):
            tables[name].append(table)
    return _Chain(truth, *(pd.concat(tables[name], ignore_index=True) for name in _Chain._fields[1:]))


def test_duplicates(chain: _Chain) -> None:
    got = score_duplicates(chain.measurements, chain.truth.measurements)
    assert got.n_true > 100
    assert got.completeness > 0.98
    assert got.purity > 0.995


def test_association(chain: _Chain) -> None:
    kept = chain.measurements.loc[chain.measurements["duplicate_of"].isna(), "measurement_id"]
    got = score_association(chain.associations, chain.truth.measurements, kept=kept)
    assert got.pair_recall > 0.98
    assert got.pair_precision > 0.995
    assert abs(got.n_sources - got.n_true_sources) < 0.03 * got.n_true_sources


def test_corrections(chain: _Chain) -> None:
    got = score_corrections(chain.corrections, chain.truth.images)
    assert got.n_position_applied > 0.9 * got.n_images
    assert got.n_flux_applied > 0.9 * got.n_images
    assert got.offset_after_arcsec < 0.4 * got.offset_before_arcsec
    assert got.scale_after < 0.6 * got.scale_before
    # Up to 20 images: their rms in quoted errors has a standard error of 1 / sqrt(2 * 20 * 2).
    assert got.offset_sigma < 1.5
    assert got.scale_sigma < 1.5


def test_corrected_positions_and_fluxes_are_the_true_ones(chain: _Chain) -> None:
    rows = chain.corrected.merge(chain.truth.measurements, on="measurement_id")
    rows = rows[rows["true_source"].notna() & rows["second_source"].isna() & (rows["snr"] > 30) & rows["corrected"]]
    assert len(rows) > 100
    dra, ddec = offsets_arcsec(rows["ra_corr_deg"], rows["dec_corr_deg"], rows["true_ra_deg"], rows["true_dec_deg"])
    raw = offsets_arcsec(rows["ra_deg"], rows["dec_deg"], rows["true_ra_deg"], rows["true_dec_deg"])
    for corrected, before in zip((dra, ddec), raw, strict=True):
        assert corrected.std() < 0.75 * before.std()
    ratio, before = (rows[name] / rows["true_flux_mjy"] for name in ("flux_int_corr_mjy", "flux_int_mjy"))
    assert ratio.median() == pytest.approx(1.0, abs=0.01)
    assert ratio.std() < before.std()


def test_counterparts(chain: _Chain) -> None:
    """The best candidate is the true counterpart, about as often as its probability says."""
    best = chain.matches[(chain.matches["rank"] == 1) & (chain.matches["probability"] > 0.5)]
    rows = best.merge(chain.truth.measurements, on="measurement_id")
    rows = rows[rows["true_source"].notna() & rows["second_source"].isna()]
    entries = chain.truth.counterparts.rename(columns={"true_source": "entry", "second_source": "other"})
    rows = rows.merge(entries, on=["catalog", "catalog_source_id"])
    wrong = ((rows["entry"] != rows["true_source"]) & (rows["other"] != rows["true_source"])).sum()
    assert len(rows) > 500
    assert wrong <= 5 + 3 * (1 - rows["probability"]).sum()
    assert wrong < 0.01 * len(rows)
