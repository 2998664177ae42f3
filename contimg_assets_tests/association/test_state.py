"""The state: what goes to disk comes back bit for bit, small, and tells equal from different."""

import io

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from contimg_assets.association import FoldState, associate_measurements
from contimg_assets.association.fold import fold
from contimg_assets.config import Association
from contimg_assets.errors import SchemaError
from contimg_assets.identity.versions import version_of_table
from contimg_assets.schemas.association import STATE
from contimg_assets.simulate import simulate_detections


@pytest.fixture(scope="module")
def states() -> list[FoldState]:
    tables = simulate_detections(300, 5, seed=3, images_per_epoch=3, shift_sigma_arcsec=1.0)
    tables[2] = tables[2].drop(columns="flux_peak_mjy_beam")
    result = [FoldState.empty()]
    for table in tables:
        result.append(fold(result[-1], table, Association()).state)
    return result


def test_parquet_gives_the_state_back(states: list[FoldState]) -> None:
    for state in states:
        buffer = io.BytesIO()
        pq.write_table(STATE.to_arrow(state.to_table()), buffer, compression="zstd")
        back = FoldState.from_table(pq.read_table(buffer))
        assert back == state
        assert back.version == state.version
        assert back.to_table().equals(state.to_table())
        assert version_of_table(back.to_table()) == version_of_table(state.to_table())


def test_fold_of_a_stored_state_is_the_fold_of_the_state(states: list[FoldState]) -> None:
    table = simulate_detections(300, 6, seed=3, images_per_epoch=3)[5]
    direct = fold(states[-1], table, Association())
    stored = fold(FoldState.from_table(states[-1].to_table()), table, Association())
    assert direct.state.version == stored.state.version
    assert direct.associations.equals(stored.associations)


def test_sources_are_sorted_and_unique(states: list[FoldState]) -> None:
    for state in states:
        assert (np.diff(state.source.astype(object)) > 0).all()
        ids = state.to_table()["source_id"].to_pylist()
        assert ids == sorted(ids)


def test_every_column_counts_for_the_version(states: list[FoldState]) -> None:
    state = states[-1]
    versions = {state.version}
    for k in range(len(state.arrays)):
        arrays = [values.copy() for values in state.arrays]
        arrays[k].view(np.uint8)[0] ^= 1
        versions.add(FoldState(*arrays).version)
    assert len(versions) == len(state.arrays) + 1


def test_versions_differ_from_epoch_to_epoch(states: list[FoldState]) -> None:
    assert len({state.version for state in states}) == len(states)
    assert states[0] != states[1]


def test_60000_sources_take_at_most_6_megabytes() -> None:
    tables = simulate_detections(60_000, 3, density_per_deg2=300.0)
    state = associate_measurements(tables).state
    buffer = io.BytesIO()
    pq.write_table(state.to_table(), buffer, compression="zstd")
    assert 59_000 < len(state) < 61_000
    assert buffer.tell() <= 6_000_000


def test_a_table_that_is_no_state_is_refused(states: list[FoldState]) -> None:
    with pytest.raises(SchemaError, match="history_hash"):
        FoldState.from_table(states[-1].to_table().drop_columns(["history_hash"]))


def test_the_mean_is_weighted_and_counts_add_up() -> None:
    tables = simulate_detections(50, 4, seed=8, double_fraction=0.0, blend_fraction=0.0, completeness=1.0)
    tables = [
        t.assign(uncertainty_ew_arcsec=2.0 + 0.3 * k, uncertainty_ns_arcsec=3.0 - 0.2 * k) for k, t in enumerate(tables)
    ]
    result = associate_measurements(tables, align_images="never")
    rows = result.associations.merge(pd.concat(tables), on="measurement_id")
    for source, group in rows.groupby("source_id"):
        got = result.sources.set_index("source_id").loc[source]
        w_ew, w_ns = group["uncertainty_ew_arcsec"] ** -2, group["uncertainty_ns_arcsec"] ** -2
        # RA around 0: as an angle between -180 and 180.
        ra = (group["ra_deg"] + 180.0) % 360.0 - 180.0
        assert (got["ra_deg"] + 180.0) % 360.0 - 180.0 == pytest.approx((w_ew * ra).sum() / w_ew.sum(), abs=1e-8)
        assert got["dec_deg"] == pytest.approx((w_ns * group["dec_deg"]).sum() / w_ns.sum(), abs=1e-8)
        assert got["uncertainty_ew_arcsec"] == pytest.approx(w_ew.sum() ** -0.5, rel=1e-12)
        assert got["uncertainty_ns_arcsec"] == pytest.approx(w_ns.sum() ** -0.5, rel=1e-12)
        assert got["n_measurements"] == len(group)
