"""The whole chain on real observations: 6 epochs, 68 images, 69,173 detections of ASKAP/VAST at 887.5 MHz."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from contimg_assets.config import FILE_NAME, load_config
from contimg_assets.orchestration.runs.in_process import bring_up_to_date
from contimg_assets.pipeline.project import Project
from contimg_assets.sky.sphere import separation_arcsec
from contimg_assets_tests.instances import instance_in_memory

pytestmark = [pytest.mark.shared, pytest.mark.slow]

N_DETECTIONS, N_IMAGES = 69_173, 68
PULSAR_RA_DEG, PULSAR_DEC_DEG = 293.058, 10.993  # PSR J1932+1059
# Name of the file, frequency [MHz], beam [arcsec].
CATALOGS = {
    "nvss": ("NVSS", 1400.0, 45.0),
    "racs-low": ("RACS-low", 887.5, 15.0),
    "racs-mid": ("RACS-mid", 1367.5, 10.0),
}


@dataclass
class RealSurvey:
    """The finished project and its tables."""

    project: Project
    measurements: pd.DataFrame
    associations: pd.DataFrame
    corrections: pd.DataFrame
    variability: pd.DataFrame
    sources: pd.DataFrame
    offsets: pd.DataFrame
    labels: pd.DataFrame


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSurvey]:
    data = shared / "data" / "vast_galplane_north"
    folder = tmp_path_factory.mktemp("real")
    command = [sys.executable, str(shared / "tools" / "make_incoming.py"), str(data), str(folder / "incoming")]
    subprocess.run(command, check=True, capture_output=True)
    catalogs = {
        name: {
            "path": str(data / "reference" / f"{file}.parquet"),
            "freq_mhz": freq_mhz,
            "beam_arcsec": beam_arcsec,
            "columns": {"catalog_source_id": {"column": "ref_id"}},
        }
        for name, (file, freq_mhz, beam_arcsec) in CATALOGS.items()
    }
    ties = {"position_catalogs": ["racs-mid"], "flux_catalogs": ["racs-mid"]}
    (folder / FILE_NAME).write_text(yaml.safe_dump({"catalogs": catalogs, "corrections": ties}), encoding="utf-8")
    project = Project(load_config(folder / FILE_NAME))
    with instance_in_memory() as instance:
        report = bring_up_to_date(project, instance)
    assert report.complete, (report.errors, report.failed)

    matches = pd.concat(
        project.store.read("catalog_matches", epoch, "catalog_matches").assign(epoch=epoch)
        for epoch in project.epochs_in_store()
    )
    best = matches[(matches["catalog"] == "racs-mid") & (matches["rank"] == 1)]
    labels = pd.read_parquet(data / "xmatch.parquet")
    labels["epoch"] = "epoch" + labels["epoch"].astype(str).str.zfill(2)
    labels["image"] = labels["field"] + "_SB" + labels["sbid"].astype(str)
    read = project.products.read_table
    yield RealSurvey(
        project,
        read("measurements"),
        read("associations"),
        read("corrections"),
        read("variability"),
        read("sources"),
        best,
        labels[labels["cat"] == "RACS-mid"],
    )
    project.products.close()


def test_every_detection_is_accounted_for(real: RealSurvey) -> None:
    rejected = sum(
        len(real.project.store.read("raw_detections", epoch, "rejected")) for epoch in real.project.epochs_in_store()
    )
    duplicates = int(real.measurements["duplicate_of"].notna().sum())
    kept = len(real.measurements) - duplicates
    print(f"{kept} measurements + {duplicates} duplicates + {rejected} rejected")
    assert kept + duplicates + rejected == N_DETECTIONS
    own = real.associations[real.associations["measurement_id"].isin(real.measurements["measurement_id"])]
    assert own["measurement_id"].nunique() == kept


def test_offsets_of_images_agree_with_what_is_known(real: RealSurvey) -> None:
    # The survey's description gives image minus catalog; ours is what to add to the image: the opposite.
    medians = -real.offsets.groupby(["epoch", "image"])[["dra_arcsec", "ddec_arcsec"]].median()
    print(medians.describe().loc[["min", "max"]])
    assert len(medians) == N_IMAGES
    assert medians["dra_arcsec"].between(-1.35, 2.05).all()
    assert medians["ddec_arcsec"].between(-4.0, 0.45).all()
    # Both ends are reached: a shrunken or swapped axis would not.
    assert medians["dra_arcsec"].max() > 1.9
    assert medians["ddec_arcsec"].min() < -3.8


def test_scatter_shrinks_when_offsets_are_taken_out(real: RealSurvey) -> None:
    def mad_std(values: pd.Series) -> float:
        return 1.4826 * float(np.median(np.abs(values - values.median())))

    merged = real.offsets.merge(real.corrections, on=["epoch", "image"], suffixes=("", "_image"))
    for axis, before, after in (("dra", 0.86, 0.56), ("ddec", 1.08, 0.60)):
        left = merged[f"{axis}_arcsec"] - merged[f"{axis}_applied_arcsec"]
        print(axis, mad_std(merged[f"{axis}_arcsec"]), mad_std(left))
        assert mad_std(merged[f"{axis}_arcsec"]) == pytest.approx(before, abs=0.02)
        assert mad_std(left) == pytest.approx(after, abs=0.03)


def test_the_pulsar_varies_most(real: RealSurvey) -> None:
    detections = real.variability[real.variability["sample"] == "detections"]
    table = detections.merge(real.sources, left_on="source_id", right_on="id")
    often = table[table["n_epochs"] >= 5].sort_values("v_int", ascending=False)
    print(often[["source_id", "ra_deg", "dec_deg", "n_epochs", "v_int", "eta_int"]].head())
    top = often.iloc[0]
    assert separation_arcsec(top["ra_deg"], top["dec_deg"], PULSAR_RA_DEG, PULSAR_DEC_DEG) < 5.0
    assert top["n_epochs"] == 6
    assert top["v_int"] == pytest.approx(1.41, abs=0.03)


def test_one_reference_source_is_one_source(real: RealSurvey) -> None:
    labelled = real.measurements.merge(real.labels, on=["epoch", "image", "component_id"])
    # A duplicate belongs to the source of the measurement that stands for it.
    labelled["measurement_id"] = labelled["duplicate_of"].fillna(labelled["measurement_id"])
    labelled = labelled.drop_duplicates(["measurement_id", "ref_id"])
    n_sources = labelled.merge(real.associations, on="measurement_id").groupby("ref_id")["source_id"].nunique()
    share = float((n_sources == 1).mean())
    print(f"{share:.2%} of {len(n_sources)} reference sources are one source")
    assert share >= 0.99


def test_the_pulsars_are_among_the_first_variables_of_a_list_that_is_short(real: RealSurvey) -> None:
    """J1932+1059, J1921+2153 and J1935+1616; by p < 1e-4 alone a fifth of all sources would be listed."""
    products = real.project.products
    found = products.variables(q_value=real.project.config.variability.max_q)
    for ra_deg, dec_deg in ((PULSAR_RA_DEG, PULSAR_DEC_DEG), (290.437, 21.884), (293.949, 16.278)):
        apart = separation_arcsec(found["ra_deg"], found["dec_deg"], ra_deg, dec_deg)
        assert (apart[:10] < 15).any()
    assert len(found) < 0.04 * len(products.variables())
