"""A password in the configuration is shown nowhere, whatever else is wrong with it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._utils.error import serializable_error_info_from_exc_info
from typer.testing import CliRunner

from contimg_assets.cli.app import app
from contimg_assets.config import load_config
from contimg_assets.config.secrets import without_passwords, without_quotes
from contimg_assets.definitions import build_definitions
from contimg_assets.errors import ConfigError, StoreError
from contimg_assets.orchestration.partitions import RANGE_END_TAG, RANGE_START_TAG, register_epochs
from contimg_assets.orchestration.runs.instance import open_instance
from contimg_assets_tests.projects import TestProject

SECRET = "hunter2xyzzy"
URLS = [
    f"postgresql://user:{SECRET}@127.0.0.1:1/db",
    f"postgresql://127.0.0.1:1/db?user=me&password={SECRET}&connect_timeout=2",
    f"postgresql://user:a@{SECRET}@127.0.0.1:1/db",
]
FAULTS = {
    "an open bracket": "paths: {products: '%s'\n",
    "a tab": "paths:\n\tproducts: '%s'\n",
    "two values": "paths:\n  products: '%s': x\n",
    "an open quote": "paths:\n  products: '%s\n",
    "a tag": "paths:\n  products: !%s\n",
    "an alias": "paths:\n  products: *%s\n",
    "an alias of its own": f"paths:\n  products: *{SECRET}\n# %s\n",
    "an anchor": "paths:\n  products: &%s\n",
    "a directive": "%%%s\n",
    "a forbidden character": "paths:\n  products: '%s'\n  \x07\n",
    "no number": f"paths: {{store: !!int '{SECRET}'}}\n# %s\n",
    "a list": "paths:\n  products: ['%s']\n",
    "a mapping": "paths:\n  products: {url: '%s', password: " + SECRET + "}\n",
    "a section that is a text": "paths: '%s'\n",
    "a section that is a list": "paths: ['%s']\n",
    "a misspelt key": "paths: {product: '%s'}\n",
    "a misspelt section": "path: {products: '%s'}\n",
    "the URL for a key": "? '%s'\n: 1\n",
    "the URL elsewhere": "association: {radius_arcsec: '%s'}\n",
    "the URL alone": "'%s'\n",
    "bytes that are no text": "paths: {products: '%s'}\n# \udcff\n",
    "one slash": "paths: {products: 'postgresql:/user:" + SECRET + "@host/db'}\n# %s\n",
    "no slash": "paths: {products: 'postgresql:user:" + SECRET + "@host/db'}\n# %s\n",
    "no at": "paths: {products: 'postgresql://user:" + SECRET + "/db'}\n# %s\n",
    "an odd driver": "paths: {products: 'postgresql+odd://user:" + SECRET + "@host/db'}\n# %s\n",
    "another database": "paths: {products: 'mysql://user:" + SECRET + "@host/db'}\n# %s\n",
    "no fault but that nobody answers": "paths: {products: '%s'}\n",
}


def traces(folder: Path) -> list[str]:
    """Files below a folder, but the configuration itself, that hold the secret."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "contimg.yaml"]
    return [str(file) for file in files if SECRET.encode() in file.read_bytes()]


@pytest.mark.parametrize("url", URLS, ids=["user", "query", "at"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_no_fault_of_the_configuration_shows_the_password(
    project: TestProject, fault: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    (project.folder / "contimg.yaml").write_bytes((fault % url).encode("utf-8", "surrogateescape"))
    caplog.set_level(logging.DEBUG)
    said = ""
    for command in (["status"], ["run"], ["db", "check"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 2, result.output
        assert "contimg.yaml" in result.output.replace("\n", "") or "database" in result.output
        said += result.output
    # What Dagster keeps of a code location that cannot be loaded, causes and all.
    try:
        config = load_config()
        build_definitions(config)
    except (ConfigError, StoreError):
        said += serializable_error_info_from_exc_info(sys.exc_info()).to_string()
    assert SECRET not in said
    assert SECRET not in caplog.text
    assert traces(project.folder) == []


@pytest.mark.parametrize("url", URLS[:2], ids=["user", "query"])
def test_no_run_that_cannot_reach_its_database_keeps_the_password(
    project: TestProject, url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (project.folder / "contimg.yaml").write_text(f"paths: {{products: '{url}'}}\n", encoding="utf-8")
    definitions = build_definitions(load_config())
    sources = dg.AssetKey(["products", "sources"])
    assets = [one for one in definitions.assets or () if isinstance(one, dg.AssetsDefinition)]
    (keys,) = (one.keys for one in assets if sources in one.keys)
    with open_instance(project.folder) as instance:
        register_epochs(instance, ["e1"])
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=list(keys),
            tags={RANGE_START_TAG: "e1", RANGE_END_TAG: "e1"},
            raise_on_error=False,
        )
        assert not result.success
        sensor = definitions.get_sensor_def("reconciler")
        tick = sensor.evaluate_tick(dg.build_sensor_context(instance))
        assert "cannot be used" in str(tick.skip_message)
    said = "".join(capfd.readouterr())
    assert "cannot be used" in said
    assert SECRET not in said + str(tick)
    assert traces(project.folder) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://user:a:b/c@d@host:5432/db", "postgresql://user:***@host:5432/db"),
        ("postgresql://user@host:5432/db", "postgresql://user@host:5432/db"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("postgresql://host/db?sslpassword=x&a=b", "postgresql://host/db?sslpassword=***&a=b"),
        ("host=h password=x", "host=h password=***"),
        ("user:x@host", "user:***@host"),
        ("sqlite:////data/some.sqlite3", "sqlite:////data/some.sqlite3"),
        ("{'password': 'x'}", "{'password': '***'}"),
        ("/data/products.sqlite3", "/data/products.sqlite3"),
    ],
)
def test_what_is_shown_of_a_url(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("expected ',' or '}', but got '<stream end>'", "expected ',' or '}', but got '<stream end>'"),
        ("found undefined alias 'abc'", "found undefined alias ..."),
        ('no constructor for the tag "!it\'s"', "no constructor for the tag ..."),
        ("found 'abc", "it is not understood"),
    ],
)
def test_a_parsers_sentence_keeps_what_helps(sentence: str, shown: str) -> None:
    assert without_quotes(sentence) == shown


def test_a_yaml_fault_is_told_by_its_place(tmp_path: Path) -> None:
    file = tmp_path / "contimg.yaml"
    file.write_text("paths:\n  store: a\n  products: [b\nassociation: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 4, column 12: not readable as YAML: expected ',' or '\]'"):
        load_config(file)
