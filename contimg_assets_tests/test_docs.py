"""The documentation names only what is there: commands, configuration keys, columns, tables, files, pages."""

import re
from pathlib import Path

import pytest
import typer
import yaml

from contimg_assets.cli.app import app
from contimg_assets.config import Config
from contimg_assets.config.reference_docs import describe
from contimg_assets.database.models import TABLES
from contimg_assets.database.tiles import OWN as OWN_OF_DIVIDED
from contimg_assets.database.views import VIEWS
from contimg_assets.definitions import build_definitions
from contimg_assets.pipeline.stages import EPOCH_STAGES
from contimg_assets.schemas import (
    association,
    catalogs,
    corrections,
    detections,
    forced,
    matches,
    polarization,
    variability,
)
from contimg_assets.schemas.core import TableSchema
from contimg_assets_tests.docs import hooks

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
# Words of others that look like ours: of nginx, PostgreSQL and Dagster,
FOREIGN = {"auth_basic", "auth_basic_user_file", "proxy_pass", "proxy_http_version", "proxy_set_header", "pg_dump"}
FOREIGN |= {"max_concurrent_runs", "max_locks_per_transaction"}
# of vast-pipeline, vast-post-processing and dsa110-contimg.
FOREIGN |= {"wavg_ra", "new_high_sigma", "last_measured_at", "max_flux_mjy", "min_flux_mjy", "sep_from_center_deg"}
FOREIGN |= {"updated_at", "ref_epoch"}


def _known_names() -> set[str]:
    """Everything of ours that a page may name in backticks."""
    names = {"mjd_mid", "jd_mid", "n_detections", "rms_map", "simulate_detections", "associate_measurements"}
    # A benchmark; of manifests, of the list of positions to watch, and of `contimg faded`.
    names |= {"bench_truth", "background_map", "pm_ra_mas_yr", "pm_dec_mas_yr", "n_faded", "forced_before_mjy_beam"}
    # Computed when somebody asks, and in no table.
    names |= {"false_chance", "q_value"}
    # What Dagster shows of an epoch.
    names |= {"n_negative"}
    for group in describe():
        names |= set(group.name.split("."))
        for entry in group.entries:
            names |= {entry.name, *re.findall(r"[a-z_]+", entry.allowed)}
    for module in (association, catalogs, corrections, detections, forced, matches, polarization, variability):
        for schema in vars(module).values():
            if isinstance(schema, TableSchema):
                names |= {schema.name, *schema.names}
    for table in (*TABLES.values(), *OWN_OF_DIVIDED.tables.values()):
        names |= {table.name, *(column.name for column in table.columns)}
    names |= set(VIEWS) | {stage.name for stage in EPOCH_STAGES}
    # With all checks: that of the scales between epochs is there only where they are applied.
    config = Config.model_validate({"corrections": {"apply_flux": "epochs"}})
    repository = build_definitions(config).get_repository_def()
    names |= {job.name for job in repository.get_all_jobs()}
    names |= {sensor.name for sensor in repository.sensor_defs} | {one.name for one in repository.schedule_defs}
    names |= {key.name for key in repository.asset_graph.asset_check_keys}
    names |= {key.path[-1] for key in repository.asset_graph.get_all_asset_keys()}
    # Statistics exist for both kinds of flux, under the names without the suffix.
    names |= {re.sub(r"_(peak|int)(_mjy.*)?$", "", name) for name in names}
    return names


def _text_on_ours(page: Path) -> str:
    """A page without blocks of code and, where it sets two systems side by side, without the names of the other."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"(?m)^\|[^|]*\|", "|", text) if page.parent.name == "moving" else text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_backticks_exist(page: Path) -> None:
    text = _text_on_ours(page)
    spans = re.findall(r"`([^`\n]+)`", text)
    named = {name for span in spans if re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", span) for name in [span]}
    assert named - _known_names() - FOREIGN == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_with_their_section_or_table_exist(page: Path) -> None:
    inside: dict[str, set[str]] = {name: set(table.columns.keys()) for name, table in TABLES.items()}
    for name, field in Config.model_fields.items():
        inside[name] = inside.get(name, set()) | set(getattr(field.annotation, "model_fields", ()))
    for whole, part in re.findall(r"`([a-z_]+)\.([a-z_]+)(?:: [a-z_]+)?`", _text_on_ours(page)):
        if inside.get(whole) and f"{whole}.{part}" != "images.csv":
            assert part in inside[whole], f"{page.name} names {whole}.{part}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    made = {ROOT / "docs" / name for name in hooks().generated_pages()}
    drawn = ROOT / "docs" / "pictures"
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        file = (page.parent / target).resolve()
        # Pictures are drawn with the site, whose own build misses none (`docs/test_site.py`).
        assert file.exists() or file in made or file.parent == drawn, f"{page.name} links to {target}"
    for file in re.findall(r"`([a-z_]+(?:/[a-z_]+)*/?(?:\.py)?)`", text):
        if (
            "/" in file
            and (file.endswith((".py", "/")))
            and file.split("/")[0] in {p.stem for p in ROOT.glob("contimg_assets/*")}
        ):
            assert (ROOT / "contimg_assets" / file).exists(), f"{page.name} names {file}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    if not page.exists():
        pytest.skip(f"{page.name} is not written yet")
    group = typer.main.get_command(app)
    commands = getattr(group, "commands", {})
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"(?m)(?:^    |`|^\$ )(?:\S*/)?contimg ((?:[a-z-]+ ?){1,2})", text):
        words = line.split()
        assert words[0] in commands, f"{page.name}: contimg {words[0]}"
        inner = getattr(commands[words[0]], "commands", None)
        if inner is not None and len(words) > 1:
            assert words[1] in inner, f"{page.name}: contimg {' '.join(words)}"


def test_yaml_on_the_pages_is_a_configuration() -> None:
    blocks = [block for page in PAGES for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), flags=re.DOTALL)]
    assert len(blocks) >= 3
    for block in blocks:
        Config(**yaml.safe_load(block))


def test_python_on_the_pages_compiles() -> None:
    blocks = [
        block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    ]
    assert blocks
    for block in blocks:
        compile(block, "docs", "exec")


def test_the_page_about_dagster_lists_every_asset_with_its_inputs() -> None:
    catalogs = {"nvss": {"path": "nvss.csv", "freq_mhz": 1400, "beam_arcsec": 45}}
    repository = build_definitions(Config.model_validate({"catalogs": catalogs})).get_repository_def()
    graph = repository.asset_graph
    page = (ROOT / "docs/dagster.md").read_text(encoding="utf-8").replace("<catalog>", "nvss")
    rows = {
        name: (partitions, set(re.findall(r"`([\w/]+)`", inputs)))
        for name, partitions, inputs in re.findall(r"(?m)^\| `([\w/<>]+)` \| (epoch|none) \| (.*) \|$", page)
    }
    of_tables = rows.pop("products/<table>")
    tables = {key for key in graph.get_all_asset_keys() if key.path[0] == "products"}
    for key in graph.get_all_asset_keys():
        partitions, inputs = rows.pop(key.to_user_string(), of_tables if key in tables else ("", set()))
        parents = {parent.to_user_string() for parent in graph.get(key).parent_keys}
        assert partitions == ("epoch" if graph.get(key).partitions_def else "none"), key
        # Which stages a table of the products is made from depends on the table.
        assert inputs <= parents if inputs is of_tables[1] else inputs == parents, key
    assert not rows, "no such assets"
