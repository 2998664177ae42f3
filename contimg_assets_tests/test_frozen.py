"""What must not change while the code is rearranged: versions, rows, names, and the files of projects made before.

Every number here was taken from commit 4d43436, and `frozen/` holds a small survey that it made. If a version differs,
stores made before count as stale and are computed anew. Change one only together with the rule that it stands for, and
say so in the changelog.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from contimg_assets.config import Config, load_config
from contimg_assets.definitions import build_definitions
from contimg_assets.orchestration.runs.in_process import bring_up_to_date
from contimg_assets.orchestration.runs.instance import open_instance
from contimg_assets.pipeline.products import matching_of
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.stages import EPOCH_STAGES, NOTHING_BEFORE, STAGES_OF_EVERY_EPOCH
from contimg_assets.pipeline.staleness import State, of_epochs
from contimg_assets.pipeline.survey_tables import catalog_input_version
from contimg_assets_tests.frozen import survey
from contimg_assets_tests.frozen.survey import (
    MOMENTS,
    FrozenProject,
    assert_same_records,
    assert_same_tables,
    unpack,
)
from contimg_assets_tests.instances import instance_in_memory

# --- code versions ------------------------------------------------------------------------------------------------

CONFIGURATIONS = {
    "defaults": "",
    "scales between epochs": """
        ingest: {max_rejected_fraction: 0.2, column_map: {flux_int_mjy: {column: S_int, unit: Jy}}}
        association: {method: deruiter, de_ruiter_radius: 5.0}
        catalogs:
          nvss: {preset: nvss, path: catalogs/nvss.fits}
          own: {path: catalogs/own.csv, freq_mhz: 887.5, columns: {ra_deg: {column: RA, unit: deg}}}
        corrections: {apply_flux: epochs, flux_catalogs: [nvss]}
        """,
    "other errors and matches": """
        paths: {store: elsewhere, products: all.sqlite3}
        measurements: {condon_errors: always, dedup_method: vast}
        matching: {radius_arcsec: 15, spectral_index: -0.8}
        corrections: {flux_method: huber, combine: weighted, catalog_weights: {first: 2.0}}
        variability: {upper_limits: false}
        checks: {min_covered: 10}
        automation: {nightly_cron: "30 4 * * *"}
        catalogs:
          first: {preset: first, path: catalogs/first.fits, epoch_mjd: 51544.0}
        """,
}

STAGE_VERSIONS = {
    "defaults": {
        "raw_detections": "9a4a9b781dc8dd55",
        "measurements": "43a60a38846af4ff",
        "associated_sources": "8e37a21f914a9c23",
        "catalog_matches": "c57335dc57356589",
        "corrections": "dd1cb01b209a8f48",
        "products": "81fec5eff6c19478",
    },
    "scales between epochs": {
        "raw_detections": "a514d410f4fd7b30",
        "measurements": "43a60a38846af4ff",
        "associated_sources": "8d28a2e6f1fb8757",
        "catalog_matches": "c57335dc57356589",
        "corrections": "9aa57717b5c2c966",
        "products": "02146afecb9585c6",
    },
    "other errors and matches": {
        "raw_detections": "9a4a9b781dc8dd55",
        "measurements": "157e8de933219193",
        "associated_sources": "8e37a21f914a9c23",
        "catalog_matches": "ee26bb00d9fed2ed",
        "corrections": "b6fa7be98d76bd86",
        "products": "b3264a5845073fba",
    },
}

# Assets that have no epochs: made once for the survey.
SURVEY_ASSET_VERSIONS = {
    "defaults": {"epoch_scales": "853999eb231d5826"},
    "scales between epochs": {
        "epoch_scales": "7b309f24b3c46b6e",
        "reference/nvss": "7b726e13870c9831",
        "reference/own": "be8921f6766ea295",
    },
    "other errors and matches": {"epoch_scales": "1f1344294c034d8a", "reference/first": "93d397cb7ca3f22d"},
}

SECTION_VERSIONS = {
    "defaults": {
        "paths": "f279aef2f0147c30",
        "ingest": "acd07605d606f7d6",
        "measurements": "6307f8015cc2cb55",
        "association": "1503acd9b48589b5",
        "matching": "63c335c846caa234",
        "corrections": "a5ea72063d1f2203",
        "variability": "e44a5d0bceac878e",
        "checks": "91cf9c5d9e5c4b1b",
        "automation": "9b8fa88fafc28b44",
    },
    "scales between epochs": {
        "paths": "f279aef2f0147c30",
        "ingest": "367af66aac6cea60",
        "measurements": "6307f8015cc2cb55",
        "association": "f7a10ea00d109e2d",
        "matching": "63c335c846caa234",
        "corrections": "23f4b59b2c2cb882",
        "variability": "e44a5d0bceac878e",
        "checks": "91cf9c5d9e5c4b1b",
        "automation": "9b8fa88fafc28b44",
        "catalogs.nvss": "b32e90e7fcbc9f35",
        "catalogs.own": "2869fcf3cc24fe16",
    },
    "other errors and matches": {
        "paths": "19e3485092e69904",
        "ingest": "acd07605d606f7d6",
        "measurements": "0b63945237ab2e65",
        "association": "1503acd9b48589b5",
        "matching": "c6b6346882804783",
        "corrections": "adbb7d959e947206",
        "variability": "8999b61397137245",
        "checks": "014b7098317a03fe",
        "automation": "a8a650debe4e9cbe",
        "catalogs.first": "63b6e20290af5c2c",
    },
}

# Stages whose rules, or the shape of whose tables, were changed since on purpose, and what is made from them: they are
# made again in surveys of before. All others must be found fresh, and be the same to the bit.
CHANGED = frozenset(
    {
        *("raw_detections", "measurements", "associated_sources", "catalog_matches"),
        *("corrections", "epoch_scales", "error_model", "products", "reference"),
    }
)

# Of these, what is made again of the same files with the same rows: another rule concerns other files.
MADE_AGAIN_ALIKE = frozenset({"reference"})

# Sections that have more parameters since, or another default, all of them read by these stages alone.
CHANGED_SECTIONS = frozenset({"association", "corrections", "matching", "variability"})

PRODUCT_TABLES = (
    "associations",
    "corrections",
    "cross_matches",
    "epochs",
    "images",
    "measurements",
    "source_aliases",
    "source_relations",
    "sources",
    "variability",
)


@pytest.fixture(params=CONFIGURATIONS)
def configured(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Config]:
    """One of the configurations, and its name."""
    file = tmp_path / "contimg.yaml"
    file.write_text(CONFIGURATIONS[request.param], encoding="utf-8")
    return request.param, load_config(file)


def assert_kept(frozen: Mapping[str, str | None], present: Mapping[str, str | None]) -> None:
    """All that was frozen is there and the same; what came since is nobody's past."""
    assert {name: version for name, version in present.items() if name in frozen} == frozen


def test_code_versions_of_stages(configured: tuple[str, Config]) -> None:
    name, config = configured
    present = {stage.name: stage.code_version(config) for stage in EPOCH_STAGES}
    assert_kept({stage: version for stage, version in STAGE_VERSIONS[name].items() if stage not in CHANGED}, present)
    for stage in CHANGED & set(STAGE_VERSIONS[name]):
        assert present[stage] != STAGE_VERSIONS[name][stage], stage


def test_code_versions_of_assets(configured: tuple[str, Config]) -> None:
    """As Dagster has recorded them for every materialization so far; None for what is made outside or has none."""
    name, config = configured
    stages = dict(STAGE_VERSIONS[name])
    products = stages.pop("products")
    catalogs = [key.removeprefix("reference/") for key in SURVEY_ASSET_VERSIONS[name] if key.startswith("reference/")]
    expected = {
        **stages,
        **{f"products/{table}": products for table in PRODUCT_TABLES},
        **SURVEY_ASSET_VERSIONS[name],
        **dict.fromkeys(("incoming", "products/epoch_scales", *(f"reference_files/{one}" for one in catalogs))),
    }
    expected = {key: version for key, version in expected.items() if version is None or _stage_of(key) not in CHANGED}
    graph = build_definitions(config).resolve_asset_graph()
    assert_kept(expected, {key.to_user_string(): graph.get(key).code_version for key in graph.get_all_asset_keys()})


def _stage_of(asset: str) -> str:
    first, _, more = asset.partition("/")
    return first if more and first in ("products", "reference") else asset


def test_versions_of_sections(configured: tuple[str, Config]) -> None:
    name, config = configured
    sections = [section for section in Config.model_fields if section not in ("catalogs", "root")]
    versions = {section: getattr(config, section).version for section in sections}
    versions |= {f"catalogs.{catalog}": one.version for catalog, one in config.catalogs.items()}
    kept = {section: version for section, version in SECTION_VERSIONS[name].items() if section not in CHANGED_SECTIONS}
    assert_kept(kept, versions)


def test_version_of_what_a_fold_begins_with() -> None:
    """Of the corrections it is another since their fold keeps more of each source."""
    assert_kept({"associated_sources": "e4a6a0577479b2b4", "corrections": "40874f450a4f83c6"}, NOTHING_BEFORE)


def test_version_of_what_a_catalog_is_made_from(tmp_path: Path) -> None:
    (tmp_path / "contimg.yaml").write_text(CONFIGURATIONS["scales between epochs"], encoding="utf-8")
    (tmp_path / "catalogs").mkdir()
    (tmp_path / "catalogs" / "own.csv").write_bytes(b"id,RA,dec_deg,flux_mjy\nJ0,1.5,16.0,12.5\n")
    # 63e1d293cc3a3b8d before the frames of files were converted whatever they are, 5df0a846db6a2800 before lists of
    # VLSSr and texts of FIRST were read whole and right, 4d4c1667d8b90005 before VLASS left out islands without a fit,
    # c070fc7e969da0d4 before numbers that stand for none were none, a1e4f0991b577bc9 before masks and units of Parquet
    # and units of proper motions were read.
    assert catalog_input_version(load_config(tmp_path / "contimg.yaml"), "own") == "4f75f88fac584609"


# --- names in Dagster ---------------------------------------------------------------------------------------------

NAMES = {
    "jobs": {
        "everything",
        "ingest_epoch",
        "maintenance",
        "rebuild_products",
        "reconcile",
        "remove_vanished_epochs",
    },
    "schedules": {"nightly", "weekly"},
    "sensors": {"automation", "deliveries", "reconciler", "vanished_epochs"},
    "checks": {
        "associated_sources:known_sources_seen_again",
        "associated_sources:no_epoch_failed",
        "catalog_matches:enough_matched",
        "catalog_matches:no_epoch_failed",
        "corrections:all_images_corrected",
        "corrections:no_epoch_failed",
        "corrections:offsets_and_scales_plausible",
        "measurements:no_detection_lost",
        "measurements:no_epoch_failed",
        "products/epochs:no_epoch_failed",
        "products/sources:no_orphans",
        "products/sources:nothing_stale",
        "raw_detections:epochs_keep_coming",
        "raw_detections:few_rows_rejected",
        "raw_detections:no_delivery_vanished",
        "raw_detections:no_epoch_failed",
        "raw_detections:positions_inside_field",
        "raw_detections:rows_add_up",
    },
}


def test_names_that_dagster_keeps_history_under(tmp_path: Path) -> None:
    """A renamed sensor, schedule, job or check loses its cursor, its switch and its past; new ones may come."""
    (tmp_path / "contimg.yaml").write_text("", encoding="utf-8")
    definitions = build_definitions(load_config(tmp_path / "contimg.yaml"))
    repository = definitions.get_repository_def()
    keys = definitions.resolve_asset_graph().asset_check_keys
    present = {
        "jobs": {job.name for job in repository.get_all_jobs()},
        "schedules": {schedule.name for schedule in repository.schedule_defs},
        "sensors": {sensor.name for sensor in repository.sensor_defs},
        "checks": {f"{key.asset_key.to_user_string()}:{key.name}" for key in keys},
    }
    assert {kind: names - present[kind] for kind, names in NAMES.items()} == {kind: set() for kind in NAMES}


# --- a survey made before -----------------------------------------------------------------------------------------

# Rows of some tables of its database: what is compared must be there.
ROWS = {
    "associations": 431,
    "corrections": 8,
    "cross_matches": 170,
    "epoch_scales": 8,
    "match_overrides": 1,
    "measurements": 448,
    "photometry": 319,
    "source_aliases": 6,
    "source_relations": 10,
    "sources": 111,
    "variability": 111,
}


@pytest.fixture
def frozen(tmp_path: Path) -> FrozenProject:
    """The survey as it was made."""
    return unpack(tmp_path / "as_made")


def project_in(folder: Path) -> Project:
    return Project(load_config(folder / "contimg.yaml"))


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory, instance: dg.DagsterInstance) -> FrozenProject:
    """The survey as today's code brings it up to date; to be read and not to be changed."""
    project = unpack(tmp_path_factory.mktemp("updated"))
    assert bring_up_to_date(project_in(project.folder), instance).complete
    return project


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """The one that has seen it brought up to date."""
    with instance_in_memory() as one:
        yield one


@pytest.fixture
def new_instance() -> Iterator[dg.DagsterInstance]:
    """One that has never seen the survey."""
    with instance_in_memory() as one:
        yield one


def test_what_did_not_change_of_a_survey_made_before_is_found_fresh(frozen: FrozenProject) -> None:
    before = frozen.hashes()
    project = project_in(frozen.folder)
    assessment = project.assess()
    assert (of_epochs(assessment)["stage"] == "raw_detections").sum() == 4
    assert set(assessment.loc[assessment["state"] != State.FRESH, "stage"].map(_stage_of)) <= CHANGED
    assert frozen.hashes() == before


def test_a_changed_key_is_noticed_in_it(frozen: FrozenProject) -> None:
    file = frozen.folder / "contimg.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("min_snr: 15.0", "min_snr: 16.0"), encoding="utf-8")
    assessment = project_in(frozen.folder).assess()
    stale = set(assessment.loc[assessment["state"] == State.STALE, "stage"].map(_stage_of))
    assert {"corrections", "epoch_scales"} <= stale <= CHANGED


def test_what_did_not_change_of_a_survey_made_before_is_left_as_it_is(
    frozen: FrozenProject, updated: FrozenProject
) -> None:
    rows = frozen.rows()
    assert {table: len(rows[table]) for table in ROWS} == ROWS
    for key, record in frozen.records.items():
        if key[0] not in CHANGED:
            assert updated.records[key] == record, key
    stored, now = frozen.stored(), updated.stored()
    changed = CHANGED - MADE_AGAIN_ALIKE
    kept = {name: table for name, table in stored.items() if name.split("/")[0].removesuffix(".parquet") not in changed}
    assert kept
    assert_same_tables({name: now[name] for name in kept}, kept)
    # What people said, and rows of what was delivered.
    present = updated.rows()
    for table in ("match_overrides", "images"):
        pd.testing.assert_frame_equal(present[table][rows[table].columns], rows[table])


def test_once_up_to_date_it_is_left_as_it_is(updated: FrozenProject, instance: dg.DagsterInstance) -> None:
    files, rows, runs = updated.hashes(), updated.rows(), len(instance.get_runs())
    project = project_in(updated.folder)
    assessment = project.assess()
    assert len(of_epochs(assessment)) == 4 * len(STAGES_OF_EVERY_EPOCH)
    assert assessment[assessment["state"] != State.FRESH].to_dict("records") == []
    report = bring_up_to_date(project, instance)
    assert report.complete
    assert report.run_ids == []
    assert len(instance.get_runs()) == runs
    assert updated.hashes() == files
    assert_same_tables(updated.rows(), rows)


def test_its_database_is_read_before_it_is_made_again(frozen: FrozenProject) -> None:
    """Blocks of light curves and rows of statistics lack what came later."""
    with project_in(frozen.folder).products as products:
        products.upgrade()
        assert products.check() == []
        sources = products.read_table("sources")
        assert (sources["n_untrusted"] == 0).all()
        assert len(products.variables()) > 50
        assert products.variables(q_value=1.0)["log10_p_value_peak"].notna().all()
        assert products.light_curve(sources["id"].iloc[0], limits=False)["trusted"].astype(bool).all()


@pytest.mark.slow
def test_making_it_all_again_gives_the_same(
    updated: FrozenProject, new_instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    again = unpack(tmp_path / "again")
    report = bring_up_to_date(project_in(again.folder), new_instance, force=True)
    assert report.complete
    assert report.run_ids
    assert_same_records(again, updated)
    assert_same_tables(again.rows(), updated.rows())


@pytest.mark.slow
def test_deliveries_alone_give_the_same(
    updated: FrozenProject, new_instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """All epochs at once, where the survey had one come late; aliases are what that leaves behind."""
    new = unpack(tmp_path / "new", only=("contimg.yaml", "catalogs", "incoming"))
    project = project_in(new.folder)
    assert bring_up_to_date(project, new_instance).complete
    rows = updated.rows()
    decision = rows["match_overrides"].iloc[0]
    project.products.decide_match(
        decision["action"],
        decision["source_id"],
        decision["catalog"],
        decision["catalog_source_id"],
        decision["comment"],
        decision["author"],
        matching_of(project.config),
    )
    assert_same_records(new, updated)
    del rows["source_aliases"]
    assert_same_tables(new.rows(), rows, without=MOMENTS)


def test_a_new_database_has_every_column_of_the_old_one(frozen: FrozenProject, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "contimg.yaml").write_text("", encoding="utf-8")
    project_in(tmp_path / "new").products.upgrade()
    present = FrozenProject(tmp_path / "new").columns()
    for table, columns in frozen.columns().items():
        # Upper limits have another form; what the writer kept of them for itself is no more.
        if table != "epoch_limits":
            assert_kept(columns, present[table])


def test_an_instance_made_before_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dagster.yaml` of every project names our launcher by the path that it had then."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    unpack(tmp_path, only=("dagster.yaml",))
    monkeypatch.chdir(tmp_path)
    named = "module: contimg_assets.automation.launcher\n  class: LocalRunLauncher\n"
    assert named in Path("dagster.yaml").read_text(encoding="utf-8")
    with open_instance(tmp_path) as instance:
        launcher = type(instance.run_launcher)
    assert launcher.__name__ == "LocalRunLauncher"
    for module in ("contimg_assets.automation.launcher", launcher.__module__):
        assert importlib.import_module(module).LocalRunLauncher is launcher


def test_what_may_differ_and_what_may_not(frozen: FrozenProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "same_arithmetic", lambda: True)
    rows = frozen.rows()
    corrections, sources = rows["corrections"], rows["sources"]
    reworded = corrections.assign(reason=corrections["reason"].str.upper())
    assert assert_same_tables(rows, rows)
    assert not assert_same_tables({**rows, "corrections": reworded}, rows)
    rounded = {**rows, "sources": sources.assign(ra_deg=sources["ra_deg"] * (1 + 1e-15))}
    with pytest.raises(AssertionError, match="table sources"):
        assert_same_tables(rounded, rows)
    monkeypatch.setattr(survey, "same_arithmetic", lambda: False)
    assert not assert_same_tables(rounded, rows)
    with pytest.raises(AssertionError, match="table sources"):
        assert_same_tables({**rows, "sources": sources.assign(ra_deg=sources["ra_deg"] * (1 + 1e-5))}, rows)
