"""What the Dagster UI shows of the assets: plots that are pictures, lineage that names existing columns."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from dagster_shared.serdes import serialize_value

from contimg_assets.config import CatalogConfig, Config, Corrections
from contimg_assets.database.models import TABLES, describe_table
from contimg_assets.figures.summaries import plot_matches, plot_offsets_and_scales, plot_variability
from contimg_assets.orchestration.assets.corrections import Epoch
from contimg_assets.orchestration.assets.products import _STAGES_OF_TABLE, PRODUCT_KEYS
from contimg_assets.orchestration.epoch_assets import MORE, check_results, shown
from contimg_assets.orchestration.lineage import product_lineage, stage_lineage
from contimg_assets.orchestration.plots import PICTURES, embedded
from contimg_assets.pipeline.outcomes import Made
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.stages import EPOCH_STAGES, STAGE
from contimg_assets.schemas.catalogs import REFERENCE
from contimg_assets.schemas.corrections import CORRECTIONS
from contimg_assets.schemas.matches import CATALOG_MATCHES
from contimg_assets_tests.projects import TestProject

SVG = b"<svg xmlns="
PICTURE = "data:image/svg+xml;base64," + base64.b64encode(SVG).decode()[:10]
CONFIG = Config(catalogs={"nvss": CatalogConfig(path="nvss.csv", freq_mhz=1400.0, beam_arcsec=45.0)})


def corrections() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "applied": [True, False],
            "dra_arcsec": [1.0, np.nan],
            "ddec_arcsec": [0.5, np.nan],
            "dra_err_arcsec": [0.1, np.nan],
            "ddec_err_arcsec": [0.1, np.nan],
            "flux_scale": [1.1, np.nan],
            "flux_scale_err": [0.01, np.nan],
        }
    )


def matches() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "catalog": ["nvss", "nvss"],
            "rank": [1, 2],
            "probability": [0.9, 0.1],
            "dra_arcsec": [0.5, 9.0],
            "ddec_arcsec": [0.5, 9.0],
            "separation_arcsec": [0.7, 12.7],
        }
    )


@pytest.mark.slow
def test_an_event_shows_figures_first_in_a_dozen_entries_and_stays_small(project: TestProject) -> None:
    project.deliver()
    project.run()
    for asset in ("corrections", "catalog_matches", "products/variability"):
        (event,) = project.instance.fetch_materializations(dg.AssetKey(asset.split("/")), limit=1).records
        metadata = event.asset_materialization.metadata
        # All images, and each of three.
        assert str(metadata[PICTURES].value).count(PICTURE) == {"corrections": 1 + 3}.get(asset, 1)
        assert next(name for name in metadata if not name.startswith("dagster/")) == PICTURES
    for asset in (*STAGE, "epoch_scales", "products/variability"):
        for event in project.instance.fetch_materializations(dg.AssetKey(asset.split("/")), limit=10).records:
            names = [name for name in event.asset_materialization.metadata if not name.startswith("dagster/")]
            assert len(names) <= 12, (asset, names)
            assert len(serialize_value(event.event_log_entry)) < 200_000


def test_what_is_beyond_a_dozen_is_together_in_the_last_entry() -> None:
    record = EpochRecord("corrections", "e1", "v", "1", {}, {}, {f"n_{i}": i for i in range(30)})
    made = Made(record, {"bins": [1, 2], "rows": [{"filter": "isolated", "nvss": 3}]}, {"one": SVG, "two": SVG})
    found = shown(made)
    assert list(found) == [PICTURES, "rows", *(f"n_{i}" for i in range(9)), MORE]
    assert found[MORE] == {f"n_{i}": i for i in range(9, 30)} | {"bins": [1, 2]}


@pytest.mark.parametrize(
    ("plot", "table"),
    [
        (plot_offsets_and_scales, corrections()),
        (plot_offsets_and_scales, CORRECTIONS.empty()),
        (plot_matches, matches()),
        (plot_matches, CATALOG_MATCHES.empty()),
        (plot_variability, pd.DataFrame({"eta_peak": [1.0, 50.0, None], "v_peak": [0.05, 0.4, None]})),
        (plot_variability, pd.DataFrame({"eta_peak": [], "v_peak": []})),
    ],
)
def test_plots_are_small_pictures_and_always_the_same(plot, table):
    first = plot(table)
    assert first.startswith(SVG)
    assert len(first) < 10_000
    assert plot(table) == first


def test_embedded():
    text = embedded({"offsets": SVG}).value
    assert text is not None
    assert text.startswith("![offsets](data:image/svg+xml;base64,")
    assert base64.b64decode(text.rpartition(",")[2].rstrip(")")) == SVG


def columns_of(asset: str) -> list[str]:
    if asset.startswith("reference/"):
        return REFERENCE.names
    if asset.startswith("products/"):
        return [column.name for column in describe_table(asset.partition("/")[2]).columns]
    return [name for table in STAGE[asset].tables for name in table.names]


@pytest.mark.parametrize("stage", [stage.name for stage in EPOCH_STAGES if stage.tables])
def test_lineage_of_a_stage_names_columns_that_exist(stage):
    lineage = stage_lineage(stage, CONFIG).deps_by_column
    assert set(lineage) <= set(STAGE[stage].tables[0].names)
    upstream = {*STAGE[stage].reads, *(["reference/nvss"] if STAGE[stage].reads_catalogs else [])}
    if STAGE[stage].reads_images:
        upstream |= {key.to_user_string() for key in PRODUCT_KEYS}
    for deps in lineage.values():
        for dep in deps:
            asset = dep.asset_key.to_user_string()
            assert asset in upstream
            assert dep.column_name in columns_of(asset)


@pytest.mark.parametrize("table", list(_STAGES_OF_TABLE))
def test_lineage_of_a_product_names_columns_that_exist(table):
    columns = [column.name for column in TABLES[table].columns]
    lineage = product_lineage(table, columns, _STAGES_OF_TABLE[table]).deps_by_column
    assert set(lineage) <= set(columns)
    for deps in lineage.values():
        for dep in deps:
            assert dep.column_name in columns_of(dep.asset_key.to_user_string())


def test_lineage_reaches_fluxes_of_sources():
    lineage = product_lineage("variability", ["v_peak"], _STAGES_OF_TABLE["variability"]).deps_by_column["v_peak"]
    assert ("measurements", "flux_peak_mjy_beam") in {(d.asset_key.to_user_string(), d.column_name) for d in lineage}
    matched = stage_lineage("catalog_matches", CONFIG).deps_by_column["flux_ratio"]
    assert ("reference/nvss", "flux_mjy") in {(d.asset_key.to_user_string(), d.column_name) for d in matched}


def test_a_check_names_its_own_epochs_and_the_newest_others_and_how_each_begins_to_fail() -> None:
    epochs = [f"e{number:03d}" for number in range(100)]
    failing = SimpleNamespace(failed_checks={"good": "image: too few matches; " * 100})
    passing = SimpleNamespace(failed_checks={})
    store = SimpleNamespace(
        failures=lambda stage: [],
        epochs=lambda stage: epochs,
        record=lambda stage, epoch: passing if epoch == "e099" else failing,
    )
    store.at_a_glance = lambda: store
    context = SimpleNamespace(
        instance=SimpleNamespace(get_dynamic_partitions=lambda name: epochs),
        partition_keys=["e007"],
        assets_def=SimpleNamespace(check_specs=[dg.AssetCheckSpec(name, asset="a") for name in ("good", "other")]),
    )
    failed, passed = check_results(context, store, SimpleNamespace(name="a"))  # type: ignore[arg-type]
    assert passed.passed and passed.description is None
    assert failed.metadata["epochs that fail"].value == 99
    named = [name.removeprefix("epoch ") for name in failed.metadata if name.startswith("epoch ")]
    assert named == ["e007", *reversed(epochs[-20:-1])]
    assert str(failed.description).startswith("e007: image: too few matches")
    assert str(failed.description).endswith("; and 96 more")
    assert len(str(failed)) < 10_000


def test_nothing_is_drawn_of_images_of_which_nothing_was_measured():
    table = CORRECTIONS.empty().reindex([0]).assign(image="a", applied=False)
    nothing = pd.DataFrame()
    epoch = Epoch(nothing, nothing, nothing, nothing, np.array([]))
    assert epoch.figures(table, Corrections()) == {}
