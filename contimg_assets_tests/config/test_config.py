"""The configuration: defaults, and refusals that name the key, the value and what is allowed."""

from pathlib import Path

import pytest

from contimg_assets.config import Config, load_config
from contimg_assets.errors import ConfigError


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "contimg.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_without_a_file_all_is_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONTIMG_CONFIG", raising=False)
    config = load_config()
    assert config.incoming == tmp_path / "incoming"
    assert config.products_url == f"sqlite:///{tmp_path / 'products.sqlite3'}"


def test_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "paths: {store: deep/store, products: 'postgresql+psycopg://host/db'}"))
    assert config.store == tmp_path / "deep" / "store"
    assert config.products_url == "postgresql+psycopg://host/db"


@pytest.mark.parametrize(
    ("products", "url"),
    [
        ("sqlite:///some.sqlite3", "sqlite:////project/some.sqlite3"),
        ("some.sqlite3", "sqlite:////project/some.sqlite3"),
        ("sqlite:////data/some.sqlite3", "sqlite:////data/some.sqlite3"),
        ("/data/some.sqlite3", "sqlite:////data/some.sqlite3"),
        ("postgresql:///name", "postgresql:///name"),
    ],
)
def test_a_relative_database_is_in_the_projects_folder(products: str, url: str) -> None:
    assert Config(root=Path("/project"), paths={"products": products}).products_url == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("asociation: {}", ["asociation", "association", "corrections"]),
        ("association: {metod: basic}", ["association.metod", "method", "radius_arcsec"]),
        ("association: {method: nearest}", ["association.method", "nearest", "'optimal'"]),
        ("association: {radius_arcsec: wide}", ["association.radius_arcsec", "wide", "number"]),
        ("ingest: {max_rejected_fraction: 2}", ["ingest.max_rejected_fraction", "2", "less than or equal to 1"]),
        ("catalogs: {nvss: {path: a, freq_mhz: 1400, beam: 45}}", ["catalogs.nvss.beam", "beam_arcsec"]),
        ("catalogs: {NVSS!: {path: a, freq_mhz: 1400}}", ["NVSS!", "lower-case"]),
        ("corrections: {flux_catalogs: [nvss]}", ["corrections.flux_catalogs", "nvss"]),
        ("ingest: {column_map: {ra_deg: {column: RA, unit: furlongs}}}", ["furlongs", "unit"]),
        ("ingest: {column_map: {flux_int_er: {column: e}}}", ["flux_int_er", "flux_int_err_mjy", "meant"]),
        ("ingest: {column_map: {flux_int_mjy: {column: S, unit: deg}}}", ["flux_int_mjy", "deg", "mJy"]),
        ("catalogs: {x: {path: a, freq_mhz: 1, columns: {ra: {column: RA}}}}", ["catalogs.x.columns", "ra_deg"]),
        ("ingest: {default_format: selavyy}", ["ingest.default_format", "'selavyy' (is 'selavy' meant?)", "aegean"]),
        ("ingest: {formats: {mine: {on: agean}}}", ["ingest.formats.mine.on", "'agean' (is 'aegean' meant?)"]),
        ("ingest: {defalt_format: selavy}", ["'ingest.defalt_format' (is 'default_format' meant?)"]),
        ("association: {method: optimum}", ["'optimum' (is 'optimal' meant?): must be 'basic'"]),
        ("automation: {timezone: Europe/Parris}", ["no time zone", "(is 'Europe/Paris' meant?)"]),
        ("automation: {web_url: localhost}", ["automation.web_url", "whole address"]),
        ("catalogs: {x: {path: a, preset: nvs}}", ["no preset 'nvs' (is 'nvss' meant?)"]),
        (
            "{catalogs: {nvss: {path: a, freq_mhz: 1}}, corrections: {flux_catalogs: [nvs]}}",
            ["corrections.flux_catalogs", "['nvs'] (is 'nvss' meant?)"],
        ),
        ("root: /", ["root", "not a key"]),
        ("- a list", ["keys and values"]),
        ("paths: {store: [", ["not readable as YAML"]),
        ("paths: !!python/object/apply:os.system [ls]", ["not readable as YAML"]),
    ],
)
def test_a_fault_is_told_with_its_key_and_what_is_allowed(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, text))
    message = str(caught.value)
    assert "contimg.yaml" in message
    assert "Input should be" not in message and "Value error" not in message
    for word in words:
        assert word in message


def test_a_format_of_ones_own_may_be_the_usual_one(tmp_path: Path) -> None:
    text = "ingest: {formats: {mine: {on: aegean}}, default_format: mine}"
    assert load_config(written(tmp_path, text)).ingest.default_format == "mine"


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, "association: {method: x, radius_arcsec: -1}"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config(tmp_path / "other.yaml")


def test_versions_of_sections_change_with_their_values_alone(tmp_path: Path) -> None:
    before = load_config(written(tmp_path, ""))
    after = load_config(written(tmp_path, "corrections: {min_matches: 12}"))
    assert before.corrections.version != after.corrections.version
    assert before.matching.version == after.matching.version


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    file = tmp_path / "contimg.yaml"
    for given, url in (
        ("p.sqlite3", f"sqlite:///{tmp_path}/p.sqlite3"),
        ("sqlite:///p.sqlite3", f"sqlite:///{tmp_path}/p.sqlite3"),
        ("sqlite:////srv/p.sqlite3", "sqlite:////srv/p.sqlite3"),
        ("postgresql:///p", "postgresql:///p"),
        ("postgresql://me@host/p", "postgresql://me@host/p"),
    ):
        file.write_text(f"paths: {{products: '{given}'}}", encoding="utf-8")
        assert load_config(file).products_url == url


def test_a_tie_to_no_catalogue_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "contimg.yaml").write_text("corrections:\n  position_catalogs: [icrf]\n")
    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path / "contimg.yaml")
    assert str(raised.value).endswith("corrections.position_catalogs names ['icrf']; configured catalogs are []")
    assert "\n" not in str(raised.value) and "{" not in str(raised.value)
