"""The checks see a row that is lost, doubled or moved; a limit says which file, which row and the cure."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contimg_assets.config import Config, Ingest, Measurements
from contimg_assets.identity.ids import from_hex, measurement_hashes, measurement_ids, to_hex, to_hex_text
from contimg_assets.ingest.checks import measurements_add_up, rejections_within_limits, rows_add_up
from contimg_assets.ingest.epoch import EpochDetections, read_epoch
from contimg_assets.ingest.measurements import measure
from contimg_assets_tests.ingest import build


@pytest.fixture
def epoch(tmp_path: Path) -> EpochDetections:
    """Two images of one sky, each with one row that is set aside; one image without any row."""
    first, second = build.sky(20), build.sky(20)
    first.loc[3, "bmaj_arcsec"] = 0.0
    second.loc[4, "bmaj_arcsec"] = 0.0
    folder = build.epoch_folder(tmp_path, build.csv(first))
    (folder / "b.csv").write_bytes(build.csv(second))
    (folder / "c.csv").write_bytes(build.csv(second.head(0)))
    rows = [{}, {"image": "b", "catalogue": "b.csv", "ra_deg": 10.3}, {"image": "c", "catalogue": "c.csv"}]
    return read_epoch(build.write_manifest(folder, rows), "e1", Config(root=folder))


def test_rows_add_up(epoch: EpochDetections) -> None:
    images, detections, rejected = epoch.images, epoch.detections, epoch.rejected
    assert images["n_rows"].tolist() == [20, 0, 20]
    assert rows_add_up(images, detections, rejected) == []
    assert rows_add_up(images, detections.iloc[1:], rejected) != []
    assert rows_add_up(images, pd.concat([detections, detections.tail(1)]), rejected) != []
    assert rows_add_up(images, detections, rejected.iloc[1:]) != []
    moved = detections.assign(image=detections["image"].where(detections.index != 0, "c"))
    assert len(rows_add_up(images, moved, rejected)) == 2
    strange = detections.assign(image=detections["image"].where(detections.index != 0, "nowhere"))
    assert any("nowhere" in problem for problem in rows_add_up(images, strange, rejected))


def test_measurements_add_up(epoch: EpochDetections) -> None:
    detections = epoch.detections
    measurements = measure(detections, epoch.images, Measurements())
    duplicates = measurements["duplicate_of"].notna()
    assert duplicates.sum() == 18, "19 rows each, of which 18 are in both"
    assert measurements_add_up(detections, measurements) == []
    assert measurements_add_up(detections, measurements.iloc[1:]) != []
    assert measurements_add_up(detections, pd.concat([measurements, measurements.tail(1)])) != []
    orphan = measurements.copy()
    orphan.loc[np.flatnonzero(duplicates)[0], "duplicate_of"] = orphan["measurement_id"][np.flatnonzero(duplicates)[1]]
    assert measurements_add_up(detections, orphan) == ["1 duplicates are of a measurement that is not kept"]
    same = measurements.copy()
    other = measurements.loc[~duplicates & (measurements["image"] == measurements.loc[duplicates, "image"].iloc[0])]
    same.loc[np.flatnonzero(duplicates)[0], "duplicate_of"] = other["measurement_id"].iloc[0]
    assert measurements_add_up(detections, same) == ["1 duplicates are of a measurement in the same image"]
    assert measurements_add_up(detections.iloc[:0], measurements.iloc[:0]) == []


def test_limits(epoch: EpochDetections) -> None:
    assert rejections_within_limits(epoch.images, epoch.rejected, Ingest()) == []
    strict = rejections_within_limits(epoch.images, epoch.rejected, Ingest(max_rejected_fraction=0.01))
    assert len(strict) == 2
    assert "field_a.csv: line 5, column 'bmaj_arcsec' = '0'" in " ".join(strict)
    assert all("1 of 20 rows rejected); correct the file, or raise ingest.max_rejected_fraction" in s for s in strict)
    damaged = epoch.rejected.assign(damaged=True)
    assert len(rejections_within_limits(epoch.images, damaged, Ingest())) == 2
    assert rejections_within_limits(epoch.images, damaged, Ingest(max_damaged_fraction=0.05)) == []


def test_identifiers_as_numbers_and_as_arrow_text() -> None:
    images, components = ["a", "b", "a"], ["1", "1", "2"]
    hashes = measurement_hashes("e", images, components)
    assert (
        to_hex(hashes).tolist() == measurement_ids("e", images, components).tolist() == to_hex_text(hashes).to_pylist()
    )
    assert (measurement_hashes("e", "a", ["1", "2"]) == hashes[[0, 2]]).all()
    ids = pd.Series(to_hex(hashes), dtype="str")
    for held in (ids, ids.iloc[1:], ids[::-1], ids.astype(object), list(ids)):
        assert to_hex(from_hex(held)).tolist() == list(held)
    for wrong in (["0" * 15], ["G" * 16], ["0" * 15 + "A"]):
        for held in (wrong, pd.Series(wrong, dtype="str")):
            with pytest.raises(ValueError, match="not an id of 16"):
                from_hex(held)
