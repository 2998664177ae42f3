"""Epochs and catalogs on disk for tests: one known sky, written the way each source finder writes it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.table import Table

MANIFEST_ROW = {
    "image": "field_a",
    "catalogue": "field_a.csv",
    "mjd_mid": 60000.5,
    "ra_deg": 10.0,
    "dec_deg": -30.0,
    "radius_deg": 2.0,
    "bmaj_arcsec": 15.0,
    "bmin_arcsec": 10.0,
    "bpa_deg": 20.0,
    "freq_mhz": 887.5,
    "rms_mjy_beam": 0.25,
}


def sky(n: int = 40, seed: int = 1, ra_deg: float = 10.0, dec_deg: float = -30.0) -> pd.DataFrame:
    """A catalog in our own columns and units."""
    rng = np.random.default_rng(seed)
    peak = np.round(2 * 10 ** rng.uniform(0, 2, n), 4)
    return pd.DataFrame(
        {
            "component_id": [f"c{i:04d}" for i in range(n)],
            "island_id": [f"i{i // 2:04d}" for i in range(n)],
            "ra_deg": np.round((ra_deg + rng.uniform(-1, 1, n)) % 360, 6),
            "dec_deg": np.round(dec_deg + rng.uniform(-1, 1, n), 6),
            "ra_err_arcsec": np.round(rng.uniform(0.1, 1, n), 4),
            "dec_err_arcsec": np.round(rng.uniform(0.1, 1, n), 4),
            "flux_peak_mjy_beam": peak,
            "flux_peak_err_mjy_beam": np.round(rng.uniform(0.2, 0.3, n), 4),
            "flux_int_mjy": np.round(peak * rng.uniform(1, 1.3, n), 4),
            "flux_int_err_mjy": np.round(rng.uniform(0.3, 0.5, n), 4),
            "local_rms_mjy_beam": np.round(rng.uniform(0.2, 0.3, n), 4),
            "bmaj_arcsec": np.round(rng.uniform(15, 20, n), 4),
            "bmaj_err_arcsec": np.round(rng.uniform(0.1, 1, n), 4),
            "bmin_arcsec": np.round(rng.uniform(10, 14, n), 4),
            "bmin_err_arcsec": np.round(rng.uniform(0.1, 1, n), 4),
            "pa_deg": np.round(rng.uniform(0, 180, n), 4),
            "pa_err_deg": np.round(rng.uniform(1, 10, n), 4),
        }
    )


def epoch_folder(root: Path, catalogue: bytes, name: str = "field_a.csv", **manifest: object) -> Path:
    """A folder with one catalog and its manifest."""
    folder = root / "e1"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(catalogue)
    return write_manifest(folder, [{"catalogue": name} | manifest])


def write_manifest(folder: Path, rows: list[dict]) -> Path:
    pd.DataFrame([MANIFEST_ROW | row for row in rows]).to_csv(folder / "images.csv", index=False)
    return folder


def csv(table: pd.DataFrame, **keywords: object) -> bytes:
    return table.to_csv(index=False, **keywords).encode()


# Our column -> (the finder's column, what our value is multiplied with).
SELAVY = {
    "island_id": ("island_id", None),
    "component_id": ("component_id", None),
    "ra_deg": ("ra_deg_cont", 1),
    "dec_deg": ("dec_deg_cont", 1),
    "ra_err_arcsec": ("ra_err", 1),
    "dec_err_arcsec": ("dec_err", 1),
    "flux_peak_mjy_beam": ("flux_peak", 1),
    "flux_peak_err_mjy_beam": ("flux_peak_err", 1),
    "flux_int_mjy": ("flux_int", 1),
    "flux_int_err_mjy": ("flux_int_err", 1),
    "bmaj_arcsec": ("maj_axis", 1),
    "bmaj_err_arcsec": ("maj_axis_err", 1),
    "bmin_arcsec": ("min_axis", 1),
    "bmin_err_arcsec": ("min_axis_err", 1),
    "pa_deg": ("pos_ang", 1),
    "pa_err_deg": ("pos_ang_err", 1),
    "local_rms_mjy_beam": ("rms_image", 1),
}
_SELAVY_UNITS = {
    "ra_deg_cont": "[deg]",
    "dec_deg_cont": "[deg]",
    "ra_err": "[arcsec]",
    "dec_err": "[arcsec]",
    "flux_peak": "[mJy/beam]",
    "flux_peak_err": "[mJy/beam]",
    "flux_int": "[mJy]",
    "flux_int_err": "[mJy]",
    "maj_axis": "[arcsec]",
    "maj_axis_err": "[arcsec]",
    "min_axis": "[arcsec]",
    "min_axis_err": "[arcsec]",
    "pos_ang": "[deg]",
    "pos_ang_err": "[deg]",
    "rms_image": "[mJy/beam]",
}
_DEG_PER_ARCSEC, _JY_PER_MJY = 1 / 3600, 1e-3
AEGEAN = {
    "ra_deg": ("ra", 1),
    "dec_deg": ("dec", 1),
    "ra_err_arcsec": ("err_ra", _DEG_PER_ARCSEC),
    "dec_err_arcsec": ("err_dec", _DEG_PER_ARCSEC),
    "flux_peak_mjy_beam": ("peak_flux", _JY_PER_MJY),
    "flux_peak_err_mjy_beam": ("err_peak_flux", _JY_PER_MJY),
    "flux_int_mjy": ("int_flux", _JY_PER_MJY),
    "flux_int_err_mjy": ("err_int_flux", _JY_PER_MJY),
    "local_rms_mjy_beam": ("local_rms", _JY_PER_MJY),
    "bmaj_arcsec": ("a", 1),
    "bmaj_err_arcsec": ("err_a", 1),
    "bmin_arcsec": ("b", 1),
    "bmin_err_arcsec": ("err_b", 1),
    "pa_deg": ("pa", 1),
    "pa_err_deg": ("err_pa", 1),
}
PYBDSF = {
    "ra_deg": ("RA", 1),
    "dec_deg": ("DEC", 1),
    "ra_err_arcsec": ("E_RA", _DEG_PER_ARCSEC),
    "dec_err_arcsec": ("E_DEC", _DEG_PER_ARCSEC),
    "flux_peak_mjy_beam": ("Peak_flux", _JY_PER_MJY),
    "flux_peak_err_mjy_beam": ("E_Peak_flux", _JY_PER_MJY),
    "flux_int_mjy": ("Total_flux", _JY_PER_MJY),
    "flux_int_err_mjy": ("E_Total_flux", _JY_PER_MJY),
    "local_rms_mjy_beam": ("Isl_rms", _JY_PER_MJY),
    "bmaj_arcsec": ("Maj", _DEG_PER_ARCSEC),
    "bmaj_err_arcsec": ("E_Maj", _DEG_PER_ARCSEC),
    "bmin_arcsec": ("Min", _DEG_PER_ARCSEC),
    "bmin_err_arcsec": ("E_Min", _DEG_PER_ARCSEC),
    "pa_deg": ("PA", 1),
    "pa_err_deg": ("E_PA", 1),
}


def finder_table(truth: pd.DataFrame, columns: dict[str, tuple[str, float | None]]) -> pd.DataFrame:
    return pd.DataFrame(
        {name: truth[ours] if scale is None else truth[ours] * scale for ours, (name, scale) in columns.items()}
    )


def selavy_text(truth: pd.DataFrame, commented: bool = True) -> bytes:
    """Fixed-width text with a line of units, a value for every column but the last, `comment`."""
    table = finder_table(truth, SELAVY).assign(has_siblings=1, flag_c4=0, spectral_index=-99.0)
    width = 24
    mark = "#" if commented else " "
    lines = [
        mark + "".join(f"{name:>{width}}" for name in [*table.columns, "comment"]),
        mark + "".join(f"{_SELAVY_UNITS.get(name, '--'):>{width}}" for name in [*table.columns, "comment"]),
    ]
    lines += [
        " " + "".join(f"{value:>{width}}" for value in row) + " " * width for row in table.itertuples(index=False)
    ]
    return ("\n".join(lines) + "\n").encode()


def aegean_table(truth: pd.DataFrame) -> pd.DataFrame:
    table = finder_table(truth, AEGEAN)
    numbers = truth["component_id"].str[1:].astype(int)
    table.insert(0, "island", numbers // 2)
    table.insert(1, "source", numbers % 2)
    return table.assign(flags=0)


def pybdsf_table(truth: pd.DataFrame, gaussians: bool = False) -> pd.DataFrame:
    table = finder_table(truth, PYBDSF)
    numbers = truth["component_id"].str[1:].astype(int)
    if gaussians:
        table.insert(0, "Gaus_id", numbers + 1000)
    table.insert(0, "Source_id", numbers)
    table.insert(0, "Isl_id", numbers // 2)
    return table.assign(S_Code="S")


def cirada_table(truth: pd.DataFrame) -> pd.DataFrame:
    """The sky as CIRADA's table of components: positions and their errors in deg, axes in arcsec, fluxes in mJy."""
    names = {"component_id": "Component_name", "ra_deg": "RA", "dec_deg": "DEC", "ra_err_arcsec": "E_RA"}
    names |= {"dec_err_arcsec": "E_DEC", "flux_int_mjy": "Total_flux", "flux_int_err_mjy": "E_Total_flux"}
    names |= {"flux_peak_mjy_beam": "Peak_flux", "flux_peak_err_mjy_beam": "E_Peak_flux", "bmaj_arcsec": "Maj"}
    names |= {"bmaj_err_arcsec": "E_Maj", "bmin_arcsec": "Min", "bmin_err_arcsec": "E_Min", "pa_deg": "PA"}
    names |= {"pa_err_deg": "E_PA", "local_rms_mjy_beam": "Isl_rms", "island_id": "Isl_id"}
    table = truth[list(names)].rename(columns=names)
    for error in ("E_RA", "E_DEC"):
        table[error] *= _DEG_PER_ARCSEC
    beside = {"DC_Maj": 1.0, "DC_Min": 0.5, "S_Code": "S", "Duplicate_flag": 0.0, "Quality_flag": 0}
    return table.assign(**beside, Subtile="J000200-003000")


def fits_bytes(table: pd.DataFrame, path: Path, units: dict[str, str] | None = None) -> bytes:
    return _astropy(table, path, "fits", units)


def votable_bytes(table: pd.DataFrame, path: Path, units: dict[str, str] | None = None) -> bytes:
    return _astropy(table, path, "votable", units)


def _astropy(table: pd.DataFrame, path: Path, kind: str, units: dict[str, str] | None) -> bytes:
    result = Table({name: table[name].to_numpy(dtype=str if table[name].dtype == "str" else None) for name in table})
    for name, unit in (units or {}).items():
        result[name].unit = unit
    result.write(path, format=kind, overwrite=True)
    return path.read_bytes()


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content)
