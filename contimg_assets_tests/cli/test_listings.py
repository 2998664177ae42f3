"""Lists on the command line: cut, sorted, and written in the same ways by all commands."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from contimg_assets.cli import console
from contimg_assets.cli.app import app
from contimg_assets.database import ProductsDatabase
from contimg_assets_tests.database.survey import Survey


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with products and nothing else."""
    made = tmp_path_factory.mktemp("listings")
    (made / "contimg.yaml").write_text("", encoding="utf-8")
    with ProductsDatabase(made / "products.sqlite3") as database:
        database.upgrade()
        database.replace_epochs(Survey(n_sources=80, n_epochs=4).epochs())
    return made


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("CONTIMG_CONFIG", raising=False)


def call(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "80"})
    assert result.exit_code == status, (result.output, result.exception)
    return result


def test_lists_are_sorted_cut_and_written() -> None:
    every = json.loads(call("variables", "--p-value", "1", "--json", "--limit", "1000").stdout)
    assert len(every) > 60
    assert next(iter(every[0])) == "name"
    by_eta = sorted((one for one in every if one["eta_peak"] is not None), key=lambda one: one["eta_peak"])
    short = call("variables", "--p-value", "1", "--sort", "eta_peak:up", "--limit", "5", "--csv")
    rows = pd.read_csv(io.StringIO(short.stdout))
    assert rows["name"].tolist() == [one["name"] for one in by_eta[:5]]
    assert f"There are {len(every)}: --limit shows more." in short.stderr
    piped = call("variables", "--p-value", "1", "--sort", "eta_peak", "--limit", "2", "--columns", "name, eta_peak")
    assert [line.split("\t")[0] for line in piped.stdout.splitlines()] == [
        "name",
        *(one["name"] for one in by_eta[:-3:-1]),
    ]
    assert len(json.loads(call("lightcurve", every[0]["name"], "--json").stdout)) == 4
    assert isinstance(json.loads(call("new", "--max-false-chance", "1", "--json").stdout), list)


def test_a_survey_in_i_alone_has_no_polarized_sources() -> None:
    assert json.loads(call("polarized", "--json").stdout) == []
    name = json.loads(call("variables", "--p-value", "1", "--json").stdout)[0]["name"]
    assert json.loads(call("polarized", name, "--json").stdout) == []
    assert "Polarization" not in call("source", name).stdout
    call("polarized", "0" * 16, status=1)


def test_what_is_not_there_is_named_with_what_is_meant() -> None:
    for option in ("--sort", "--columns"):
        output = " ".join(call("variables", "--p-value", "1", option, "eta_paek", status=2).output.split())
        assert "no column 'eta_paek' (is 'eta_peak' meant?)" in output.replace("│ ", "").replace(" │", "")


def test_a_terminal_of_80_columns_shows_names_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame(
        {
            "name": ["DSA J035912.3+153523"] * 5,
            "n_peak": 12,
            "flux_peak_weighted_mean_mjy_beam": 123.456789,
            "flux_peak_weighted_mean_err_mjy_beam": 1.23456,
            "eta_peak": 38.2725013,
            "v_peak": 0.0651012,
            "q_value_peak": 1.085e-26,
            "is_new": False,
        }
    )
    screen = io.StringIO()
    monkeypatch.setattr(console, "console", console.Console(file=screen, width=80))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    console.print_frame(frame, "Sources", [name for name in frame if "err" not in name])
    text = screen.getvalue()
    assert text.count("DSA J035912.3+153523") == 5
    assert text.count(" 123.5 │") == 5
    assert "123.456" not in text and "…" not in text
    assert max(map(len, text.splitlines())) <= 80
