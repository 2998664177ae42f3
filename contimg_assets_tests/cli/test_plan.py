"""`contimg plan` measures small surveys in processes and folders of their own, and foretells large ones from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from contimg_assets.cli import trial
from contimg_assets.cli.app import app
from contimg_assets.errors import ComputeError
from contimg_assets.planning import QUANTITIES, Measured, SurveySize
from contimg_assets_tests.planning.test_costs import costs_of, measured


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(trial, "run_trials", lambda n_times: iter(measured()))
    return


def asked(*options: str) -> Result:
    return CliRunner().invoke(app, ["plan", *options], env={"COLUMNS": "200"})


@pytest.mark.usefixtures("planned")
def test_people_read_what_was_measured_and_what_is_foretold() -> None:
    done = asked("--sources", "10000", "--epochs", "40", "--images", "12")
    assert done.exit_code == 0
    text = done.output
    assert "Measured here: simulated surveys, from files to products, in one process" in text
    assert "Foretold: 400,000 detections of 10,000 sources" in text
    assert "All of this is extrapolated to 6.2 times the detections of the largest measured survey" in text
    assert "So far plans were within 25% of real runs (docs/scale.md)." in text
    assert "More than 4 workers save less than a fifth of the time" in text


@pytest.mark.usefixtures("planned")
def test_programs_read_the_same_as_json() -> None:
    size = SurveySize(1_000_000, 1000, 100, 10_000)
    done = asked(
        *("--sources", "1000000", "--epochs", "1000", "--images", "100", "--detections", "10000", "--workers", "2"),
        "--json",
    )
    told, expected = json.loads(done.stdout), costs_of(size)
    assert told["survey"]["n_detections"] == 1e7
    assert told["time_s"] == pytest.approx(expected["processor_s"] - expected["shared_s"] / 2)
    assert told["disk_bytes"] == pytest.approx(
        expected["store_bytes"] + 2 * expected["database_bytes"] + expected["dagster_bytes"]
    )
    # So far beyond what was measured that no plan was ever compared with a run.
    assert (told["is_extrapolated"], told["error_fraction"]) == (True, None)
    assert [row["n_sources"] for row in told["measured"]] == [one.n_sources for one in trial.SHAPES]


@pytest.mark.usefixtures("planned")
def test_a_small_survey_is_not_called_extrapolated() -> None:
    assert "The survey is no larger than those that were measured." in asked(
        "--sources", "10", "--epochs", "3", "--images", "1"
    ).output.replace("\n", " ")


def test_surveys_without_epochs_are_refused_before_anything_is_measured() -> None:
    assert asked("--sources", "10", "--epochs", "0", "--images", "1").exit_code == 2


@pytest.mark.slow  # it is the real chain that is measured, once
def test_a_trial_is_a_real_run_apart_from_the_callers_own_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("CONTIMG_CONFIG", str(tmp_path / "contimg.yaml"))
    (one,) = trial.run_trials([SurveySize(20, 2, 1)])
    assert isinstance(one, Measured)
    assert set(one.costs) == set(QUANTITIES)
    assert 0 < one.costs["shared_s"] < one.costs["processor_s"]
    assert one.costs["memory_bytes"] > 1e8
    assert min(one.costs[name] for name in ("store_bytes", "database_bytes", "dagster_bytes")) > 1e5
    # The finder misses some, and finds some that are none.
    assert 10 <= one.size.epoch_detections <= 40
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "contimg.yaml").write_text("paths: {incoming: [}", encoding="utf-8")
    with pytest.raises(ComputeError, match="a trial run of a simulated survey failed, so that nothing can be foretold"):
        trial._run(tmp_path)
