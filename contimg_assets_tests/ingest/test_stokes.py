"""Images that are not in Stokes I never make sources, nor duplicates of those that are; nor do negative detections."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contimg_assets.config import Config, Ingest, Measurements
from contimg_assets.errors import InputError
from contimg_assets.ingest.epoch import read_epoch
from contimg_assets.ingest.measurements import measure, measure_others
from contimg_assets_tests.ingest.build import csv, epoch_folder, sky, write_manifest


def in_v(table: pd.DataFrame) -> pd.DataFrame:
    """The same sky in V: half of it negative, a tenth as bright."""
    sign = np.where(np.arange(len(table)) % 2, 0.1, -0.1)
    return table.assign(**{name: table[name] * sign for name in ("flux_peak_mjy_beam", "flux_int_mjy")})


def with_v(root: Path) -> Path:
    folder = epoch_folder(root, csv(sky(20)))
    (folder / "v.csv").write_bytes(csv(in_v(sky(20))))
    return write_manifest(folder, [{"stokes": "i"}, {"image": "field_a_v", "catalogue": "v.csv", "stokes": "V"}])


def test_other_stokes_parameters_are_kept_apart(tmp_path: Path) -> None:
    alone = read_epoch(epoch_folder(tmp_path, csv(sky(20))), "e1", Config(root=tmp_path))
    found = read_epoch(with_v(tmp_path), "e1", Config(root=tmp_path))
    for name in ("images", "detections", "rejected", "coverage"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(alone, name))
    assert found.unlisted_files == ()
    assert found.other_images[["image", "stokes", "n_rows"]].values.tolist() == [["field_a_v", "V", 20]]
    # The same names of components, and ids of their own.
    assert sorted(found.other_detections["component_id"]) == sorted(alone.detections["component_id"])
    assert not set(found.other_detections["measurement_id"]) & set(alone.detections["measurement_id"])
    assert (found.other_detections["flux_peak_mjy_beam"] < 0).sum() == 10


def test_no_row_of_v_is_a_repeat_of_one_of_i(tmp_path: Path) -> None:
    found = read_epoch(with_v(tmp_path), "e1", Config(root=tmp_path))
    own = measure(found.detections, found.images, Measurements())
    others = measure_others(found.other_detections, (found.images, found.other_images), Measurements())
    assert own["duplicate_of"].isna().all() and others["duplicate_of"].isna().all()
    assert len(own) == len(others) == 20
    assert (others["flux_peak_err_mjy_beam"] > 0).all() and (others["ra_err_arcsec"] > 0).all()


def test_left_out_is_total_intensity(tmp_path: Path) -> None:
    folder = epoch_folder(tmp_path, csv(sky(20)))
    plain = read_epoch(folder, "e1", Config(root=tmp_path))
    write_manifest(folder, [{"stokes": None}])
    assert read_epoch(folder, "e1", Config(root=tmp_path)).detections.equals(plain.detections)


@pytest.mark.parametrize(
    ("total", "other", "parameter"),
    [
        ("Stokes I", " v ", "V"),
        ("1", "4", "V"),
        ("1.0", "2.0", "Q"),
        ("total intensity", "circular polarization", "V"),
        ("stokes_i", "Linear", "L"),
        ("", "P", "L"),
        ("I", "Stokes-U", "U"),
    ],
)
def test_parameters_may_be_written_in_other_ways(tmp_path: Path, total: str, other: str, parameter: str) -> None:
    folder = with_v(tmp_path)
    write_manifest(folder, [{"stokes": total}, {"image": "field_a_v", "catalogue": "v.csv", "stokes": other}])
    found = read_epoch(folder, "e1", Config(root=tmp_path))
    assert found.images["image"].tolist() == ["field_a"]
    assert found.other_images[["image", "stokes"]].values.tolist() == [["field_a_v", parameter]]


@pytest.mark.parametrize(
    ("stokes", "what"),
    [
        *((one, rf"'{one}' is none of I") for one in ("RR", "-1", "XX", "V/I", "IQUV", "5")),
        ("W", r"line 2, column 'stokes': 'W' is none of I, Q, U, V, L"),
        ("Q", "no image is in Stokes I"),
    ],
)
def test_what_is_no_stokes_parameter_is_told(tmp_path: Path, stokes: str, what: str) -> None:
    folder = write_manifest(epoch_folder(tmp_path, csv(sky(20))), [{"stokes": stokes}])
    with pytest.raises(InputError, match=what):
        read_epoch(folder, "e1", Config(root=tmp_path))


def test_the_catalog_of_i_delivered_for_v_is_refused(tmp_path: Path) -> None:
    folder = with_v(tmp_path)
    (folder / "v.csv").write_bytes(csv(sky(20)))
    with pytest.raises(InputError, match="image 'field_a_v' has the same 20 rows as image 'field_a'"):
        read_epoch(folder, "e1", Config(root=tmp_path))


def test_a_damaged_catalog_of_v_is_told_as_one_of_i(tmp_path: Path) -> None:
    folder = with_v(tmp_path)
    (folder / "v.csv").write_bytes(csv(in_v(sky(20)).assign(ra_deg="here")))
    with pytest.raises(InputError, match=r"v\.csv: .*a number belongs here"):
        read_epoch(folder, "e1", Config(root=tmp_path))


def test_negative_detections_are_artefacts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = sky(20)
    positive = read_epoch(epoch_folder(tmp_path, csv(table)), "e1", Config(root=tmp_path))
    table.loc[[3, 7], ["flux_peak_mjy_beam", "flux_int_mjy"]] *= -1
    folder = epoch_folder(tmp_path, csv(table))
    with caplog.at_level(logging.WARNING):
        found = read_epoch(folder, "e1", Config(root=tmp_path))
    assert "2 negative detections in Stokes I are kept apart as artefacts" in caplog.text
    assert found.other_detections["stokes"].tolist() == ["I", "I"]
    assert set(found.other_detections["component_id"]) == {"c0003", "c0007"}
    others = ~positive.detections["component_id"].isin(["c0003", "c0007"])
    pd.testing.assert_frame_equal(found.detections, positive.detections[others].reset_index(drop=True))
    measured = measure_others(found.other_detections, (found.images, found.other_images), Measurements())
    assert (measured["snr"] < 0).all()
    asked = read_epoch(folder, "e1", Config(root=tmp_path, ingest=Ingest(negative_sources=True)))
    assert len(asked.detections) == 20 and asked.other_detections.empty


def test_a_forced_flux_may_be_negative(tmp_path: Path) -> None:
    table = sky(20).assign(forced="true")
    table.loc[3, ["flux_peak_mjy_beam", "flux_int_mjy"]] *= -1
    found = read_epoch(epoch_folder(tmp_path, csv(table)), "e1", Config(root=tmp_path))
    assert len(found.detections) == 20 and found.other_detections.empty
