"""Lists on the command line: cut, sorted, and written in the same ways by all commands."""

from __future__ import annotations

import io
import json
import os
import pty
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from contimg_assets.cli import console
from contimg_assets.cli.app import INTERNAL_ERROR, app, main
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
    call("polarized", "0" * 16, status=2)


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


def test_sources_are_tagged_noted_and_found_by_it() -> None:
    first, second = (one["name"] for one in json.loads(call("sources", "--limit", "2", "--json").stdout))
    call("tag", "add", first, "needs-look", "odd")
    call("tag", "add", second.split(" ")[1], "odd")
    call("tag", "remove", first, "odd")
    call("note", "add", first, "beside a side lobe")
    call("favorite", "add", second)
    assert [one["name"] for one in json.loads(call("sources", "--tag", "needs-look", "--json").stdout)] == [first]
    (row,) = json.loads(call("tag", "list", "--tag", "odd", "--json").stdout)
    assert (row["name"], row["tag"]) == (second, "odd") and row["author"] and row["created_at"].endswith("+00:00")
    assert "beside a side lobe" in call("source", first).stdout
    assert "beside a side lobe" in call("note", "list", "--csv").stdout
    (row,) = json.loads(call("variables", "--q-value", "1", "--tag", "odd", "--json").stdout)
    assert row["name"] == second
    assert json.loads(call("new", "--max-false-chance", "1", "--tag", "none-has-it", "--json").stdout) == []
    assert "no condition" in call("query", "save", "odd ones", "--where", "what?", status=2).stderr
    assert "1 source(s) now" in call("query", "save", "odd ones", "--where", "tag = odd").stdout
    found = json.loads(call("sources", "--query", "odd ones", "--more", "n_limits", "--json").stdout)
    assert [one["name"] for one in found] == [second] and "n_limits" in found[0]
    none = call("sources", "--query", "odd ones", "--where", "favorite != x, n_measurements < 0", "--json").stdout
    assert json.loads(none) == []
    call("query", "remove", "odd ones")
    assert "no list is saved as 'odd ones'" in call("sources", "--query", "odd ones", status=2).stderr


def test_a_source_is_one_object_for_programs() -> None:
    first = json.loads(call("sources", "--limit", "1", "--json").stdout)[0]
    found = json.loads(call("source", first["name"], "--json").stdout)
    assert found["source"]["id"] == first["id"]
    assert len(found["light_curve"]) >= first["n_measurements"]
    assert set(found) >= {"variability", "matches", "decisions", "tags", "notes", "favorites", "relations"}


def test_errors_say_where_they_arose_when_asked(folder: Path) -> None:
    plain = call("source", "90,-80", status=2).stderr
    assert "no source within" in plain and "Traceback" not in plain
    assert "Traceback" in call("--traceback", "source", "90,-80", status=2).stderr
    assert "Traceback" not in call("source", "90,-80", status=2).stderr


def test_another_folder_and_the_version(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert json.loads(call("-C", str(folder), "sources", "--limit", "1", "--json").stdout)
    monkeypatch.chdir(tmp_path)
    assert "none is no folder" in call("--project", "none", "sources", status=2).stderr
    assert call("--version").stdout.strip()[0].isdigit()


def test_a_fault_of_the_program_has_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr("contimg_assets.cli.app.app", broken)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == INTERNAL_ERROR == 70
    assert "ZeroDivisionError: a slip" in capsys.readouterr().err


def test_a_folder_that_is_no_project_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("variables", "status", "sources"):
        assert "is no project" in call(command, status=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_positions_with_a_blank_and_swapped_ones() -> None:
    row = json.loads(call("sources", "--limit", "1", "--json").stdout)[0]
    place = (f"{row['ra_deg']:.5f}", f"{row['dec_deg']:.5f}")
    assert json.loads(call("source", *place, "--json").stdout)["source"]["name"] == row["name"]
    assert "swapped?" in call("source", f"{place[1]},{place[0]}", status=2).stderr


def test_a_terminal_says_at_once_that_something_comes_and_files_do_not(folder: Path) -> None:
    command = [sys.executable, "-m", "contimg_assets", "sources", "--limit", "2"]
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(command, cwd=folder, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        shown = b""
        # At its end, Linux says that the terminal is no more.
        with suppress(OSError):
            while part := os.read(master, 65536):
                shown += part
    os.close(master)
    assert process.returncode == 0
    word, erased, table = shown.decode().partition("\x1b[2K\r")
    assert "loading" in word
    assert erased and "DSA J" in table
    piped = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert "loading" not in piped.stdout + piped.stderr
    assert "DSA J" in piped.stdout


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """All commands, with their names."""
    if not hasattr(command, "commands"):
        yield " ".join(path), command
    for name, one in getattr(command, "commands", {}).items():
        yield from _commands(one, (*path, name))


COMMANDS = dict(_commands(get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example_that_can_be_called(name: str) -> None:
    _, _, example = COMMANDS[name].help.partition("Example: contimg ")
    assert example.startswith(name), "no example"
    COMMANDS[name].make_context(name, shlex.split(example.splitlines()[0].removeprefix(name)))


def test_all_commands_are_there() -> None:
    assert len(COMMANDS) > 50
    assert {"status", "plot eta-v", "match accept"} < set(COMMANDS)
