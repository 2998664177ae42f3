"""A fine and a coarse telescope in turn: sources are neither split, nor joined, nor dragged off their places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from contimg_assets.simulate import SurveyParameters, SurveyTruth, TelescopeParameters, simulate_survey
from contimg_assets.sky.sphere import offsets_arcsec
from contimg_assets_tests.projects import TestProject, make_project

PARAMETERS = SurveyParameters(
    n_epochs=4, images_per_epoch=2, n_sources=220, n_transients=0, double_fraction=0, blend_fraction=0,
    missing_image_fraction=0, telescope_2=TelescopeParameters(), seed=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TestProject:
    survey = tmp_path_factory.mktemp("survey")
    simulate_survey(survey, PARAMETERS)
    made = make_project(tmp_path_factory.mktemp("project") / "project", survey)
    made.deliver()
    assert made.run().complete
    return made


@pytest.mark.slow
def test_epochs_are_of_one_telescope_and_the_other_in_turn(project: TestProject) -> None:
    images = project.rows()["images"].sort_values("mjd")
    by_epoch = images.groupby("epoch", sort=False)[["freq_mhz", "bmaj_arcsec"]].agg(["min", "max"])
    assert by_epoch["freq_mhz"]["min"].tolist() == [1405.0, 887.5, 1405.0, 887.5]
    assert by_epoch["bmaj_arcsec"]["min"].tolist() == by_epoch["bmaj_arcsec"]["max"].tolist() == [58.8, 15, 58.8, 15]
    fluxes = SurveyTruth.read(project.survey / "truth").measurements
    assert fluxes.groupby("epoch").size().shape == (4,)


def test_sources_are_neither_split_nor_joined_nor_dragged(project: TestProject) -> None:
    truth = SurveyTruth.read(project.survey / "truth")
    rows = project.rows()
    measured = truth.measurements[
        truth.measurements["second_source"].isna() & truth.measurements["true_source"].notna()
    ]
    kept = rows["measurements"].query("not is_limit")[["measurement_id", "epoch", "duplicate_of"]]
    kept = kept[kept["duplicate_of"].isna()].merge(rows["associations"][["measurement_id", "source_id"]])
    pairs = kept.merge(measured[["measurement_id", "true_source"]], on="measurement_id")
    per_true = pairs.groupby("true_source")["source_id"].nunique()
    per_source = pairs.groupby("source_id")["true_source"].nunique()
    assert len(per_true) > 100
    assert (per_true == 1).mean() >= 0.99
    assert (per_source == 1).mean() >= 0.99
    # Detected by both telescopes: the position is as good as the fine one's own.
    fine = set(rows["images"].query("freq_mhz < 1000")["epoch"])
    both = pairs.groupby("source_id")["epoch"].agg(
        lambda epochs: len(set(epochs) & fine) > 0 and len(set(epochs) - fine) > 0
    )
    sources = rows["sources"].set_index("id").loc[both[both].index]
    true = truth.sources.set_index("true_source").loc[pairs.groupby("source_id")["true_source"].first()[sources.index]]
    true = true.set_axis(sources.index)
    point = (true["size_arcsec"] == 0).to_numpy()
    east, north = offsets_arcsec(true["ra_deg"], true["dec_deg"], sources["ra_deg"], sources["dec_deg"])
    quoted = sources[["uncertainty_ew_arcsec", "uncertainty_ns_arcsec"]].to_numpy(float)
    pulls = np.stack([east, north], axis=-1)[point] / quoted[point]
    assert point.sum() > 50
    # Quoted errors are for the 95 %; they have tails, and the median of pulls is less than that of normal errors, 0.67.
    assert 0.92 < (np.abs(pulls) < 1.96).mean() < 0.98
    assert 0.5 < np.median(np.abs(pulls)) < 0.75
    assert np.median(np.hypot(east, north)[point]) < 1.0
    # Two bands: no constant source is taken for a variable because of its spectral index.
    variability = rows["variability"].query("sample == 'detections' and n_peak >= 2")
    assert len(variability["band"].unique()) == 2


def test_a_survey_of_one_telescope_is_what_it_was(tmp_path: Path) -> None:
    one = SurveyParameters(n_epochs=2, images_per_epoch=1, n_sources=30, seed=2)
    alone = simulate_survey(tmp_path / "one", one)
    both = simulate_survey(tmp_path / "two", one.model_copy(update={"telescope_2": TelescopeParameters()}))
    assert "telescope" not in (tmp_path / "one" / "truth" / "parameters.json").read_text(encoding="utf-8")
    # The sky, and what the first telescope delivers, are the same.
    pd.testing.assert_frame_equal(alone.sources, both.sources)
    first = alone.images["epoch"].iloc[0]
    catalogs = [sorted((tmp_path / name / "incoming" / first).glob("*.csv")) for name in ("one", "two")]
    assert [file.read_bytes() for file in catalogs[0]] == [file.read_bytes() for file in catalogs[1]]
    with pytest.raises(ValidationError, match="exclude each other"):
        SurveyParameters(telescope_2=TelescopeParameters(), other_bands_mhz=(2150.0,))
