"""Real observations: 68 ASKAP images of 6 epochs from files to corrected measurements; a mosaic of DSA-110."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contimg_assets.calibration import apply_corrections, calculate_epoch_scales, measure_corrections, with_epoch_scales
from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Config, Corrections, Matching
from contimg_assets.crossmatch.matches import match_measurements
from contimg_assets.ingest.epoch import read_epoch
from contimg_assets.ingest.measurements import measure
from contimg_assets.schemas.corrections import CORRECTED_MEASUREMENTS, CORRECTIONS
from contimg_assets.sky import sphere

pytestmark = [pytest.mark.shared, pytest.mark.slow]

# Frequencies [MHz] and beams [arcsec] of two of its catalogs.
_CATALOGS = {"RACS-mid": (1367.5, 10.0), "RACS-low": (887.5, 15.0)}
TO_RACS_MID = Corrections(position_catalogs=("RACS-mid",), flux_catalogs=("RACS-low",))

Epoch = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def catalogs(shared: Path) -> list[ReferenceCatalog]:
    folder = shared / "data" / "vast_galplane_north" / "reference"
    found = []
    for name, (freq_mhz, beam_arcsec) in _CATALOGS.items():
        table = pd.read_parquet(folder / f"{name}.parquet").rename(columns={"ref_id": "catalog_source_id"})
        found.append(ReferenceCatalog(name, table, freq_mhz=freq_mhz, beam_arcsec=beam_arcsec, version="test"))
    return found


@pytest.fixture(scope="module")
def epochs(
    shared: Path, catalogs: list[ReferenceCatalog], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Epoch]:
    incoming = tmp_path_factory.mktemp("incoming")
    tool, data = shared / "tools" / "make_incoming.py", shared / "data" / "vast_galplane_north"
    subprocess.run([sys.executable, str(tool), str(data), str(incoming)], check=True, capture_output=True)
    found = {}
    for folder in sorted(incoming.iterdir()):
        delivered = read_epoch(folder, folder.name, Config())
        measurements = measure(delivered.detections, delivered.images, Config().measurements)
        matches = match_measurements(measurements, delivered.images, catalogs, Config().matching)
        found[folder.name] = (measurements, matches, delivered.images)
    return found


@pytest.fixture(scope="module")
def corrected(epochs: dict[str, Epoch]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Corrections of all images, and corrected measurements with the RACS-mid source that each is of."""
    tables, rows = [], []
    for epoch, (measurements, matches, images) in epochs.items():
        table = measure_corrections(measurements, matches, images, TO_RACS_MID)
        CORRECTIONS.to_arrow(table)
        got = apply_corrections(measurements, table)
        CORRECTED_MEASUREMENTS.to_arrow(got[CORRECTED_MEASUREMENTS.names])
        best = matches[(matches["catalog"] == "RACS-mid") & (matches["rank"] == 1) & matches["mutual"]]
        columns = [
            "measurement_id",
            "catalog_source_id",
            "catalog_ra_deg",
            "catalog_dec_deg",
            "dra_arcsec",
            "ddec_arcsec",
        ]
        rows.append(got.merge(best[columns], on="measurement_id").assign(epoch=epoch))
        tables.append(table.assign(epoch=epoch))
    return pd.concat(tables, ignore_index=True), pd.concat(rows, ignore_index=True)


def _mad(values: np.ndarray | pd.Series) -> float:
    return float(np.median(np.abs(values - np.median(values))))


def _scatter(table: pd.DataFrame, flux: str) -> float:
    """Median over sources of the standard deviation of their fluxes over epochs, as a fraction, where SNR > 200."""
    kept = table[table["duplicate_of"].isna() & (table.groupby("catalog_source_id")["snr"].transform("min") > 200)]
    fluxes = kept.groupby("catalog_source_id")[flux]
    often = fluxes.size() >= 3
    assert often.sum() > 300
    return float((fluxes.std() / fluxes.mean())[often].median())


def test_every_image_is_corrected(corrected: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table, _ = corrected
    assert len(table) == 68
    assert table["applied"].all(), table.loc[~table["applied"], ["image", "reason"]].to_string()
    # No peak fluxes and no catalog errors in this set: it says so.
    assert table["notes"].str.contains("compactness not judged").all()
    assert table["notes"].str.contains("no flux errors in a catalog").all()
    # The images are off by arcseconds; how much is known to hundredths.
    assert table["ddec_arcsec"].max() > 3
    assert table[["dra_err_arcsec", "ddec_err_arcsec"]].max(axis=None) < 0.15


def test_positions_agree_with_racs_mid(corrected: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    _, rows = corrected
    assert len(rows) > 59_000
    east, north = sphere.offsets_arcsec(
        rows["ra_corr_deg"], rows["dec_corr_deg"], rows["catalog_ra_deg"], rows["catalog_dec_deg"]
    )
    # 0.86 and 1.08 arcsec before (in sigma: 1.4826 MAD); 0.62 after is what the issue allows.
    assert 1.4826 * _mad(rows["ddec_arcsec"]) > 1.0
    assert 1.4826 * _mad(east) < 0.62
    assert 1.4826 * _mad(north) < 0.62
    # One median an image gives 0.56 and 0.60; these images are distorted, and cross-validation sees it.
    assert (corrected[0]["position_model"] == "smooth").mean() > 0.9
    assert 1.4826 * _mad(east) < 0.46
    assert 1.4826 * _mad(north) < 0.46
    assert abs(np.median(east)) < 0.01
    assert abs(np.median(north)) < 0.01


def test_fluxes_repeat_from_epoch_to_epoch(corrected: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    _, rows = corrected
    raw, ours = _scatter(rows, "flux_int_mjy"), _scatter(rows, "flux_int_corr_mjy")
    assert ours < 0.022
    assert ours < raw


def test_scales_between_epochs(epochs: dict[str, Epoch], corrected: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table, rows = corrected
    bright = rows[rows["snr"] > 30].rename(
        columns={"catalog_source_id": "source_id", "flux_int_mjy": "flux_mjy", "flux_int_err_mjy": "flux_err_mjy"}
    )
    scales = calculate_epoch_scales(bright, table)
    assert scales["epoch_scale"].notna().all()
    both = scales.merge(table, on=["epoch", "image"])
    ratio = both["epoch_scale"] / both["flux_scale"]
    assert ratio.median() == pytest.approx(1, abs=0.01)
    assert ratio.std() < 0.03
    parameters = TO_RACS_MID.model_copy(update={"apply_flux": "epochs"})
    parts = []
    for epoch, (measurements, matches, images) in epochs.items():
        found = measure_corrections(measurements, matches, images, parameters)
        found = with_epoch_scales(found, scales[scales["epoch"] == epoch], parameters)
        parts.append(apply_corrections(measurements, found)[["measurement_id", "flux_int_corr_mjy"]])
    both = rows.drop(columns="flux_int_corr_mjy").merge(pd.concat(parts), on="measurement_id")
    assert _scatter(both, "flux_int_corr_mjy") < _scatter(rows, "flux_int_corr_mjy")


@pytest.mark.parametrize(
    ("east", "north", "factor", "words"),
    [
        (10.0, 0.0, 1.0, "position: the offset, "),
        (0.0, -10.0, 1.0, "position: the offset, "),
        (0.0, 0.0, 3.0, "flux: the scale, 3."),
        (0.0, 0.0, 1 / 3, "flux: the scale, 0.3"),
    ],
)
def test_a_real_image_gone_wrong_is_flagged(
    epochs: dict[str, Epoch], catalogs: list[ReferenceCatalog], east: float, north: float, factor: float, words: str
) -> None:
    measurements, _, images = epochs["epoch54"]
    name = images["image"].iloc[3]
    wrong = (measurements["image"] == name).to_numpy()
    ra, dec = sphere.displaced(
        measurements["ra_deg"], measurements["dec_deg"], np.where(wrong, east, 0.0), np.where(wrong, north, 0.0)
    )
    scale = np.where(wrong, factor, 1.0)
    changed = measurements.assign(
        ra_deg=ra,
        dec_deg=dec,
        flux_int_mjy=scale * measurements["flux_int_mjy"],
        flux_int_err_mjy=scale * measurements["flux_int_err_mjy"],
    )
    matches = match_measurements(changed, images, catalogs, Config().matching)
    table = measure_corrections(changed, matches, images, TO_RACS_MID).set_index("image")
    assert list(table.index[~table["applied"]]) == [name]
    assert words in table.loc[name, "reason"]


def test_a_dsa110_mosaic_with_a_blazar_in_it(shared: Path) -> None:
    """Peaks fitted near NVSS sources: offset and ratio as the folder's README has them, in spite of 3C 454.3."""
    table = pd.read_csv(shared / "data" / "dsa110_2026-01-25T2200" / "2026-01-25T2200_seeded_offsets_nvss.csv")
    n = len(table)
    error = np.hypot(0.5, 20 / table["snr"])
    measurements = pd.DataFrame(
        {
            "measurement_id": [f"{row:016x}" for row in range(n)],
            "image": "mosaic",
            "ra_deg": table["dsa_ra_deg"],
            "dec_deg": table["dsa_dec_deg"],
            "uncertainty_ew_arcsec": error,
            "uncertainty_ns_arcsec": error,
            "flux_peak_mjy_beam": 1e3 * table["peak_flux_jy_beam"],
            "flux_peak_err_mjy_beam": 1e3 * table["local_rms_jy_beam"],
            "snr": table["snr"],
        }
    )
    images = pd.DataFrame(
        {"image": ["mosaic"], "ra_deg": 344.25, "dec_deg": 16.1, "bmaj_arcsec": 58.8, "freq_mhz": 1405.0}
    )
    reference = pd.DataFrame(
        {
            "catalog_source_id": [f"N{row}" for row in range(n)],
            "ra_deg": table["catalog_ra_deg"],
            "dec_deg": table["catalog_dec_deg"],
            "flux_mjy": table["catalog_flux_mjy"],
        }
    )
    nvss = ReferenceCatalog("NVSS", reference, freq_mhz=1400.0, beam_arcsec=45.0, version="test")
    matches = match_measurements(measurements, images, [nvss], Matching(flux="peak"))
    got = measure_corrections(measurements, matches, images, Corrections()).iloc[0]
    assert got["applied"], got["reason"]
    assert got["flux_kind"] == "peak"
    # DSA minus NVSS is (-0.55, +0.01) arcsec over all; what corrects it has the opposite sign.
    assert abs(got["dra_arcsec"] - 0.55) < 2 * got["dra_err_arcsec"] < 0.6
    assert abs(got["ddec_arcsec"] + 0.01) < 2 * got["ddec_err_arcsec"] < 0.6
    assert abs(got["flux_scale"] - 0.885) < 2 * got["flux_scale_err"] < 0.1
    assert "their median is taken" in got["notes"]
    huber = measure_corrections(measurements, matches, images, Corrections(flux_method="huber")).iloc[0]
    assert not huber["flux_applied"]
    assert "leaving one match out" in huber["reason"]
    assert table["catalog_flux_mjy"][int(huber["flux_influential_id"], 16)] > 12_000
