"""Images that are not in Stokes I never make sources, nor duplicates of those that are."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from contimg_assets.config import Config
from contimg_assets.errors import InputError
from contimg_assets.ingest.epoch import read_epoch
from contimg_assets_tests.ingest.build import csv, epoch_folder, sky, write_manifest


def test_other_stokes_parameters_are_named_and_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = epoch_folder(tmp_path, csv(sky(20)))
    (folder / "v.csv").write_bytes(csv(sky(20)))
    write_manifest(folder, [{"stokes": "i"}, {"image": "field_a_v", "catalogue": "v.csv", "stokes": "V"}])
    with caplog.at_level(logging.WARNING):
        found = read_epoch(folder, "e1", Config(root=tmp_path))
    assert found.images["image"].tolist() == ["field_a"]
    assert set(found.detections["image"]) == {"field_a"}
    assert found.other_stokes == ("field_a_v",)
    assert found.unlisted_files == ()
    assert "not in Stokes I are not used: field_a_v" in caplog.text


def test_left_out_is_total_intensity(tmp_path: Path) -> None:
    folder = epoch_folder(tmp_path, csv(sky(20)))
    plain = read_epoch(folder, "e1", Config(root=tmp_path))
    write_manifest(folder, [{"stokes": None}])
    assert read_epoch(folder, "e1", Config(root=tmp_path)).detections.equals(plain.detections)


@pytest.mark.parametrize(
    ("stokes", "what"),
    [("W", r"line 2, column 'stokes': 'W' is none of I, Q, U, V, L"), ("Q", "no image is in Stokes I")],
)
def test_what_is_no_stokes_parameter_is_told(tmp_path: Path, stokes: str, what: str) -> None:
    folder = write_manifest(epoch_folder(tmp_path, csv(sky(20))), [{"stokes": stokes}])
    with pytest.raises(InputError, match=what):
        read_epoch(folder, "e1", Config(root=tmp_path))
