"""Sources that became one: earlier epochs are shown under the name that stays, in whatever order the epochs came."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from contimg_assets.config import FILE_NAME, load_config
from contimg_assets.orchestration.runs.in_process import bring_up_to_date, delete_epoch
from contimg_assets.pipeline.merges import merged_sources, merges_fact, merges_table, version_of, with_heirs
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.records import EpochRecord, StoredTable
from contimg_assets.sky.sphere import displaced
from contimg_assets_tests.instances import instance_in_memory

NO_TABLES: dict[str, StoredTable] = {}


class MemoryStore:
    """Associations and relations of epochs."""

    def __init__(self, sources: dict[str, list[str]], related: dict[str, list[str]]) -> None:
        self.sources, self.related = sources, related
        self.reads: list[str] = []

    def read_recorded(self, record: EpochRecord, table: str) -> pa.Table:
        self.reads.append(record.epoch)
        if table == "associations":
            return pa.table({"source_id": pa.array(self.sources.get(record.epoch, []), pa.string())})
        return pa.table({"from_source_id": pa.array(self.related.get(record.epoch, []), pa.string())})


def record(epoch: str, **facts: Any) -> EpochRecord:
    return EpochRecord("associated_sources", epoch, "", "", {}, NO_TABLES, facts)


def merges(*pairs: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["source_id", "into_source_id"]).astype("str")


def test_the_epochs_that_name_a_source_are_listed_and_no_older_one_is_read() -> None:
    store = MemoryStore({"e0": ["a"], "e1": ["b", "a"], "e2": ["c"], "e3": ["b"]}, {"e2": ["b", "c"]})
    earlier = [record(f"e{k}") for k in range(4)]
    table = merges_table(store, earlier, merges(("b", "a")), {"b": 2})  # type: ignore[arg-type]
    assert table.to_numpy().tolist() == [["b", "a", "e1"], ["b", "a", "e2"], ["b", "a", "e3"]]
    assert "e0" not in store.reads


def test_what_was_merged_before_goes_along() -> None:
    store = MemoryStore({"e0": ["d"], "e1": ["b"], "e2": ["a"], "e3": ["c"]}, {})
    first = [["d", "b", "e0"]]
    second = [["b", "a", "e1"], ["d", "a", "e0"]]
    earlier = [record("e0"), record("e1", merges=first), record("e2", merges=second), record("e3")]
    table = merges_table(store, earlier, merges(("a", "c")), {"a": 3})  # type: ignore[arg-type]
    assert table.to_numpy().tolist() == [["a", "c", "e2"], ["b", "c", "e1"], ["d", "c", "e0"]]
    last = record("e4", **merges_fact(table))
    assert merged_sources([*earlier, last]) == {"e0": {"d": "c"}, "e1": {"b": "c"}, "e2": {"a": "c"}}
    assert merged_sources(earlier) == {"e0": {"d": "a"}, "e1": {"b": "a"}}


def test_the_version_tells_what_was_merged() -> None:
    assert version_of({"a": "b", "c": "d"}) == version_of({"c": "d", "a": "b"})
    assert len({version_of(one) for one in ({"a": "b"}, {"b": "a"}, {"a": "c"}, {})}) == 4


def test_relations_to_oneself_and_repeated_ones_go() -> None:
    relations = pd.DataFrame(
        {
            "from_source_id": ["a", "b", "b", "c", "a", "c"],
            "to_source_id": ["b", "a", "c", "b", "c", "a"],
            "kind": "fork",
        }
    )
    named = with_heirs(relations, {"b": "a"}, ["from_source_id", "to_source_id"])
    assert named[["from_source_id", "to_source_id"]].to_numpy().tolist() == [["a", "c"], ["c", "a"]]
    assert with_heirs(relations, {}, ["from_source_id"]) is relations


# --- the whole chain ----------------------------------------------------------------------------------------------

EAST, NORTH = (axis.ravel() for axis in np.meshgrid(np.arange(-6, 7) * 120.0, np.arange(-6, 7) * 120.0))
# Where the source in the middle was found, arcsec to the east: the second time so far off that another one was founded.
TWIN = {"night1": 0.0, "night2": 6.3, "night3": 4.7}


def deliver(folder: Path, epoch: str) -> None:
    """A grid of sources around RA 0."""
    east = EAST + np.where((EAST == 0) & (NORTH == 0), TWIN[epoch], 0.0)
    ra, dec = displaced(np.zeros(len(east)), np.full(len(east), 20.0), east, NORTH)
    rows = pd.DataFrame({"component_id": [f"c{k}" for k in range(len(east))], "ra_deg": ra, "dec_deg": dec})
    rows = rows.assign(ra_err_arcsec=0.57, dec_err_arcsec=0.57, flux_int_mjy=20.0, flux_int_err_mjy=1.7, snr=12.0)
    (folder / "incoming" / epoch).mkdir(parents=True)
    rows.to_csv(folder / "incoming" / epoch / "x.csv", index=False)
    images = {"image": "x", "catalogue": "x.csv", "mjd_mid": 60000.0 + int(epoch[-1]), "ra_deg": 0.0, "dec_deg": 20.0}
    images |= {"radius_deg": 1.0, "bmaj_arcsec": 13.5, "bmin_arcsec": 13.5, "bpa_deg": 0.0, "freq_mhz": 888.0}
    pd.DataFrame([images | {"rms_mjy_beam": 1.7}]).to_csv(folder / "incoming" / epoch / "images.csv", index=False)


def survey(folder: Path, order: Sequence[str]) -> Project:
    """A project to which the epochs came one by one."""
    folder.mkdir()
    (folder / FILE_NAME).write_text(yaml.safe_dump({}), encoding="utf-8")
    project = Project(load_config(folder / FILE_NAME))
    with instance_in_memory() as instance:
        for epoch in order:
            deliver(folder, epoch)
            report = bring_up_to_date(project, instance)
            assert report.complete, (report.errors, report.failed)
    return project


def in_the_middle(project: Project) -> pd.DataFrame:
    sources = project.products.read_table("sources")
    middle = sources[(sources["dec_deg"] - 20.0).abs() < 0.01]
    return middle[np.minimum(middle["ra_deg"], 360 - middle["ra_deg"]) < 0.01]


@pytest.mark.slow
def test_twins_are_one_in_the_products_in_any_order_of_arrival(tmp_path: Path) -> None:
    tables = []
    for k, order in enumerate([("night1", "night2", "night3"), ("night3", "night1", "night2")]):
        project = survey(tmp_path / str(k), order)
        assert len(in_the_middle(project)) == 1
        source = in_the_middle(project).iloc[0]
        assert source["n_measurements"] == 3
        kept = [project.products.read_table(name) for name in ("associations", "sources", "source_relations")]
        tables.append(kept)
        aliases = project.products.read_table("source_aliases")
        if k == 0:
            # The second night's source was in the products; whoever noted its name is led to the one that stays.
            assert aliases["source_id"].tolist() == [source["id"]]
        assert project.assess()["state"].eq("fresh").all()
        project.products.close()
    for one, other in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(one, other)


@pytest.mark.slow
def test_twins_are_two_again_when_the_epoch_that_merged_them_goes(tmp_path: Path) -> None:
    project = survey(tmp_path / "one", tuple(TWIN))
    with instance_in_memory() as instance:
        shutil.rmtree(tmp_path / "one" / "incoming" / "night3")
        assert delete_epoch(project, instance, "night3").complete
        assert bring_up_to_date(project, instance).complete
    assert in_the_middle(project)["n_measurements"].tolist() == [1, 1]
    assert not project.products.read_table("source_aliases")["gone"].any()
    assert project.assess()["state"].eq("fresh").all()
    project.products.close()
