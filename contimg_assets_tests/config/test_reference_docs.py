"""The example file and the configuration page say what the program does, and are what is committed."""

from pathlib import Path

import pytest
import yaml

from contimg_assets.config import Config, Section, load_config
from contimg_assets.config.reference_docs import (
    CONFIGURATION_PAGE,
    EXAMPLE_FILE,
    describe,
    render_configuration,
    render_example,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("file", "made"), [(EXAMPLE_FILE, render_example()), (CONFIGURATION_PAGE, render_configuration())]
)
def test_committed_files_are_what_the_program_says(file: str, made: str) -> None:
    committed = (ROOT / file).read_text(encoding="utf-8")
    assert committed == made, "run `python -m contimg_assets.config.reference_docs` and commit what it writes"


def test_the_example_as_it_is_means_all_defaults(tmp_path: Path) -> None:
    file = tmp_path / "contimg.yaml"
    file.write_text(render_example(), encoding="utf-8")
    assert load_config(file).model_dump(exclude={"root"}) == Config().model_dump(exclude={"root"})


def test_the_example_with_every_hash_taken_off_means_all_defaults_and_one_catalogue(tmp_path: Path) -> None:
    lines = [
        line.replace("#", "", 1) if line.lstrip().startswith("#") and not line.lstrip().startswith("# ") else line
        for line in render_example().splitlines()
    ]
    file = tmp_path / "contimg.yaml"
    file.write_text("\n".join(lines), encoding="utf-8")
    assert len(yaml.safe_load(file.read_text())["corrections"]) > 20
    config = load_config(file)
    assert list(config.catalogs) == ["nvss"]
    default = Config().model_dump(exclude={"root", "catalogs"})
    assert config.model_dump(exclude={"root", "catalogs"}) == default


def test_every_key_is_described_with_words() -> None:
    groups = {group.name: group for group in describe()}
    sections = {name for name, field in Config.model_fields.items() if not field.exclude and name != "catalogs"}
    nested = {"catalogs.<name>", "ingest.formats.<name>", "ingest.column_map.<our column>", "compute.slurm"}
    assert sections | nested == set(groups)
    for group in groups.values():
        assert group.meaning
        for entry in group.entries:
            assert len(entry.meaning) > 10, f"{group.name}.{entry.name} has no description"
            assert entry.allowed
    keys = {entry.name for entry in groups["corrections"].entries}
    assert keys == set(Config.model_fields["corrections"].annotation.model_fields)


def test_units_and_limits_reach_the_page() -> None:
    entries = {f"{group.name}.{entry.name}": entry for group in describe() for entry in group.entries}
    radius = entries["matching.radius_arcsec"]
    assert (radius.unit, radius.allowed, radius.default) == ("arcsec", "number > 0", "10.0")
    assert entries["association.method"].allowed == "basic, advanced, deruiter, optimal"
    assert entries["catalogs.<name>.path"].default == ""
    for line in render_configuration().splitlines():
        assert not line.startswith("| `") or line.replace("\\|", "").count("|") == 6


def test_an_empty_section_is_all_defaults_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    from contimg_assets.errors import ConfigError

    file = tmp_path / "contimg.yaml"
    file.write_text("paths:\ncorrections:\n", encoding="utf-8")
    assert isinstance(load_config(file).corrections, Section)
    file.write_text("pathes:\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="pathes"):
        load_config(file)
