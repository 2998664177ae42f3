"""The files that `contimg init` writes are those at the top of the repository, and Dagster accepts them."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import dagster as dg
import pytest
import yaml

from contimg_assets.cli.templates import TEMPLATES, write_templates
from contimg_assets.orchestration.runs.instance import open_instance
from contimg_assets.orchestration.runs.launcher import LocalRunLauncher

TOP = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", TEMPLATES)
def test_copies_at_the_top_are_equal(name):
    template = resources.files("contimg_assets").joinpath("cli", "project_files", name).read_text(encoding="utf-8")
    assert (TOP / name).read_text(encoding="utf-8") == template


def test_instance_of_the_template(tmp_path, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    write_templates(tmp_path)
    with open_instance(tmp_path) as instance:
        assert isinstance(instance.run_launcher, LocalRunLauncher)
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.run_monitoring_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.global_op_concurrency_default_limit == 1
        assert instance.get_runs() == []
    assert (tmp_path / ".dagster").is_dir()
    assert isinstance(instance, dg.DagsterInstance)


def test_workspace_names_our_definitions():
    workspace = yaml.safe_load((TOP / "workspace.yaml").read_text(encoding="utf-8"))
    assert workspace == {"load_from": [{"python_module": {"module_name": "contimg_assets.definitions"}}]}


def test_nothing_that_is_written_down_opens_a_port_to_others():
    """`dagster dev` listens on loopback unless told otherwise, and no command, template or page of ours tells it."""
    from dagster_webserver.cli import DEFAULT_WEBSERVER_HOST

    assert DEFAULT_WEBSERVER_HOST == "127.0.0.1"
    places = [TOP / "README.md", *(TOP / "docs").glob("*.md"), *(TOP / name for name in TEMPLATES)]
    places += (TOP / "contimg_assets" / "cli").rglob("*.*")
    hosts = set[str]()
    for place in places:
        if place.suffix in {".md", ".yaml", ".py", ".service"}:
            text = place.read_text(encoding="utf-8")
            hosts |= set(re.findall(r"dagster[^\n]*?(?:-h|--host)[ =](\S+)", text))
            assert "0.0.0.0" not in text, place
    assert hosts == {"127.0.0.1"}
