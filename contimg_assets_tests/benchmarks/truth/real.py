"""Real surveys of `shared/data`: what can be judged without knowing the truth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from contimg_assets.cli.templates import write_templates
from contimg_assets.config.presets import PRESETS
from contimg_assets.simulate import score_association
from contimg_assets.sky.sphere import separation_arcsec
from contimg_assets_tests.benchmarks.truth.tables import (
    Products,
    close_pairs,
    limits_beside_detections,
    made,
    median_eta,
)

SETS = ("vast_bulge_8ep_8cat", "vast_galplane_north", "vast_southplane_20ep")
SMALLEST = SETS[0]
# File -> name of the survey; the frequencies and beams are those of its preset.
CATALOGS = {
    "NVSS": "nvss",
    "SUMSS": "sumss",
    "TGSS": "tgss",
    "VLASS": "vlass",
    "RACS-low": "racs-low",
    "RACS-mid": "racs-mid",
    "RACS-high": "racs-high",
}
BEYOND_PRESETS = {"racs-high": (1632.5, 8.0), "tgss": (150.0, 25.0), "vlass": (3000.0, 2.5)}
SNR_EDGES = (10.0, 15.0, 30.0, 60.0, 200.0, np.inf)
RADIUS_EDGES_DEG = (0.0, 1.5, 3.0, 4.5, 10.0)
FEWEST_IN_BIN, FEWEST_IN_FIELD, BRIGHT = 30, 3, 20.0
# Constant sources scatter by about this share of their flux, beyond noise.
CONSTANT_SCATTER = 0.03
# Right ascension and declination [deg] of pulsars in the northern plane that vary beyond doubt.
PULSARS = {"J1932+1059": (293.058, 10.993), "J1921+2153": (290.437, 21.884), "J1935+1616": (293.949, 16.278)}
BROKEN_IMAGE = "_SB56804"
# A catalog of the surveys' frequency, of 2019 and 2020.
SAME_FREQUENCY = "racs-low"


def make_project(folder: Path, shared: Path, name: str) -> None:
    """Lay a real set out as a project with all its catalogs that have fluxes; nothing where that was done."""
    if (folder / "contimg.yaml").exists():
        return
    data = shared / "data" / name
    command = [sys.executable, str(shared / "tools" / "make_incoming.py"), str(data), str(folder / "incoming")]
    subprocess.run(command, check=True, capture_output=True)
    catalogs = {}
    for file in sorted((data / "reference").glob("*.parquet")):
        if (survey := CATALOGS.get(file.stem)) is None:
            continue
        preset = PRESETS.get(survey)
        known = (preset.freq_mhz, preset.beam_arcsec) if preset else None
        freq_mhz, beam_arcsec = known or BEYOND_PRESETS[survey]
        columns = {"catalog_source_id": {"column": "ref_id"}}
        catalogs[survey] = {"path": str(file), "freq_mhz": freq_mhz, "beam_arcsec": beam_arcsec, "columns": columns}
    write_templates(folder)
    (folder / "contimg.yaml").write_text(yaml.safe_dump({"catalogs": catalogs}), encoding="utf-8")


def _judged(products: Products) -> pd.DataFrame:
    """Statistics of sources with at least four points, with bins of their SNR and distance from the image center."""
    kind, points = products.kind, products.points
    away = separation_arcsec(points["ra_deg"], points["dec_deg"], points["ra_deg_image"], points["dec_deg_image"])
    of_source = points.assign(radius_deg=away / 3600.0).groupby("source_id")[["snr", "radius_deg"]].median()
    table = products.variability.merge(of_source, left_on="source_id", right_index=True)
    table = table[table[f"n_{kind}"] >= 4]
    return table.assign(
        snr_bin=pd.cut(table["snr"], SNR_EDGES, right=False),
        radius_bin=pd.cut(table["radius_deg"], RADIUS_EDGES_DEG, right=False),
    )


def light_curves(products: Products) -> dict[str, Any]:
    """Share of sources below 1e-4, and the median of eta in every bin of SNR and radius."""
    kind, table = products.kind, _judged(products)
    bins = {
        (str(one), str(two)): median_eta(rows[f"eta_{kind}"], rows[f"n_{kind}"])
        for (one, two), rows in table.groupby(["snr_bin", "radius_bin"], observed=True)
        if len(rows) >= FEWEST_IN_BIN
    }
    return {
        "n_sources": len(table),
        "below_1e-4": float((table[f"p_value_{kind}"] < 1e-4).mean()),
        "median_eta": (min(bins.values()), max(bins.values())) if bins else (np.nan, np.nan),
        "median_eta_bins": bins,
    }


def against_catalog(products: Products) -> dict[str, Any]:
    """Whether sources with p < 1e-4 also differ from what another survey saw years before, at the same frequency.

    Returns
    -------
    The share of them whose flux over that in the catalog is farther from the usual than that of 95 % of the other
    sources of like SNR and distance from the image center: 5 % if their light curves are only badly measured.
    """
    kind, table = products.kind, _judged(products)
    mean = next(name for name in map(str, table) if name.startswith(f"flux_{kind}_weighted_mean_mjy"))
    best = products.cross_matches.query("catalog_type == @SAME_FREQUENCY and rank == 1").drop_duplicates("source_id")
    table = table.merge(best[["source_id", "catalog_flux_mjy"]], on="source_id")
    table = table[(table["catalog_flux_mjy"] > 0) & (table[mean] > 0)]
    table["ln_ratio"] = np.log(table["catalog_flux_mjy"] / table[mean])
    n, beyond = 0, 0
    for _, rows in table.groupby(["snr_bin", "radius_bin"], observed=True):
        varies = rows[f"p_value_{kind}"] < 1e-4
        usual = rows.loc[~varies, "ln_ratio"]
        if len(usual) >= FEWEST_IN_BIN:
            off, others = ((one - usual.median()).abs() for one in (rows.loc[varies, "ln_ratio"], usual))
            n, beyond = n + len(off), beyond + int((off > others.quantile(0.95)).sum())
    return {"off_catalog": (round(beyond / n, 3) if n else np.nan, n)}


def _image_scales(ln_flux: pd.Series, rows: pd.DataFrame) -> pd.Series:
    """Scale of each image against its sources' means over the images, both solved in turn.

    Means, as the median of a few epochs is the flux of one of them; weighted by what noise and the scatter of constant
    sources leave, without what is three times as far off.
    """
    source, image = rows["source_id"], rows["image"]
    weight = 1.0 / (rows["snr"] ** -2.0 + CONSTANT_SCATTER**2)
    scale = pd.Series(0.0, index=image.unique())
    kept = pd.Series(1.0, index=rows.index)
    for _ in range(30):
        w = weight * kept
        mean = (w * (ln_flux - image.map(scale))).groupby(source).transform("sum") / w.groupby(source).transform("sum")
        residual = ln_flux - mean
        scale = (w * residual).groupby(image).sum() / w.groupby(image).sum()
        kept = (((residual - image.map(scale)) ** 2 * weight) < 9.0).astype(float)
        # A source or image of outliers alone still has a mean.
        kept += 1e-6
    return scale


def scales(products: Products) -> dict[str, Any]:
    """Scatter of image scales after over before the corrections, in each field."""
    points = products.points
    if "trusted" in points:
        points = points[points["trusted"].astype(bool)]
    kind = "flux_int_mjy" if products.kind == "int" else "flux_peak_mjy_beam"
    corrected = kind.replace("_mjy", "_corr_mjy")
    points = points[(points["snr"] >= BRIGHT) & (points[kind] > 0) & (points[corrected] > 0)]
    points = points.assign(field=points["image"].str.rsplit("_SB", n=1).str[0])
    ratios, floors = {}, []
    half = pd.util.hash_array(points["source_id"].to_numpy(dtype=object)) % 2 == 0
    points = points.assign(half=half)
    for field, rows in points.groupby("field"):
        n = rows.groupby("source_id")["epoch"].transform("nunique")
        rows = rows[n >= FEWEST_IN_FIELD]
        if rows["image"].nunique() < FEWEST_IN_FIELD:
            continue
        before, after = (_image_scales(np.log(rows[name]), rows).std() for name in (kind, corrected))
        ratios[str(field)] = float(after / before)
        one, other = (_image_scales(np.log(part[corrected]), part) for _, part in rows.groupby("half"))
        floors.append(float(((one - other) / 2.0).std() / before))
    return {
        "scale_scatter": (float(np.median(list(ratios.values()))), max(ratios.values())),
        # By how much halves of the sources disagree about the scales: none can be known better.
        "scale_scatter_of_halves": (round(float(np.median(floors)), 3), round(max(floors), 3)),
        "scale_scatter_fields": ratios,
    }


def lists(products: Products) -> dict[str, Any]:
    """What people are shown first, and what should not be in it."""
    listed = products.variables
    sources = products.sources.set_index("id")
    first = sources.loc[listed.iloc[:10]]
    pulsars = [
        name
        for name, (ra, dec) in PULSARS.items()
        if (separation_arcsec(first["ra_deg"], first["dec_deg"], ra, dec) < 5.0).any()
    ]
    broken = products.points[products.points["image"].str.endswith(BROKEN_IMAGE)]
    pairs = close_pairs(products.sources)
    return {
        "n_variables": len(listed),
        "n_new": len(products.new),
        "pulsars_first": pulsars,
        "broken_selected": int(broken["source_id"].drop_duplicates().isin(listed).sum()),
        "limits_beside_detections": limits_beside_detections(products),
        "twins_per_source": len(pairs) / len(products.sources),
    }


def labels(products: Products, data: Path) -> dict[str, Any]:
    """Pair recall and precision against the set's own matches to RACS-low."""
    known = pd.read_parquet(data / "xmatch.parquet")
    known = known[known["cat"] == "RACS-low"]
    known = known.assign(
        epoch="epoch" + known["epoch"].astype(str).str.zfill(2),
        image=known["field"] + "_SB" + known["sbid"].astype(str),
    )
    rows = products.measurements[["epoch", "image", "component_id", "measurement_id", "duplicate_of"]]
    truth = known.merge(rows, on=["epoch", "image", "component_id"]).rename(columns={"ref_id": "true_source"})
    kept = truth.loc[truth["duplicate_of"].isna(), "measurement_id"]
    score = score_association(products.associations, truth.assign(second_source=None), kept=kept)
    return {"label_recall": score.pair_recall, "label_precision": score.pair_precision}


def survey(name: str, folder: Path, shared: Path) -> dict[str, Any]:
    """Everything about one real set."""
    make_project(folder / name, shared, name)
    products = made(folder / name)
    parts = (light_curves, against_catalog, scales, lists)
    found = {key: value for part in parts for key, value in part(products).items()}
    return {**found, **labels(products, shared / "data" / name)}
