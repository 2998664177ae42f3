"""Twins in real surveys, whose input holds no pair within 90 arcsec in one image: ASKAP/VAST, by plain functions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contimg_assets.association import FoldState
from contimg_assets.association.fold import fold
from contimg_assets.ingest.duplicates import find_duplicates
from contimg_assets.simulate import score_association
from contimg_assets.sky.sphere import separation_arcsec, tree_of, unit_vectors

pytestmark = pytest.mark.shared


def epochs_of(data: Path) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Measurements and images of each epoch; errors as the survey's description suggests."""
    rows = pd.read_parquet(data / "detections.parquet")
    rows["image"] = rows["field"] + "_SB" + rows["sbid"].astype(str)
    fields = pd.read_csv(data / "observations.csv").drop_duplicates(["SBID", "FIELD_NAME"])
    fields["image"] = fields["FIELD_NAME"] + "_SB" + fields["SBID"].astype(str)
    centre = fields.set_index("image")[["RA_DEG", "DEC_DEG"]].reindex(rows["image"]).to_numpy().T
    rows["from_centre"] = separation_arcsec(*centre, rows["ra_deg"].to_numpy(), rows["dec_deg"].to_numpy()) / 3600.0
    # The first epochs have no signal to noise.
    error = np.hypot(rows["psf_maj_arcsec"] / (2.0 * rows["snr"].fillna(30.0)), 0.3)
    rows = rows.assign(uncertainty_ew_arcsec=error, uncertainty_ns_arcsec=error)
    rows["measurement_id"] = rows["image"] + "/" + rows["component_id"].astype(str)
    found = []
    for _, each in rows.sort_values("measurement_id").groupby("epoch", sort=True):
        images = each.drop_duplicates("image")[["image", "psf_min_arcsec"]].merge(fields, on="image")
        images = images.rename(columns={"RA_DEG": "ra_deg", "DEC_DEG": "dec_deg", "psf_min_arcsec": "bmin_arcsec"})
        found.append((each.reset_index(drop=True), images.assign(radius_deg=4.5)))
    return found


def without_duplicates(each: pd.DataFrame) -> pd.DataFrame:
    columns = ("ra_deg", "dec_deg", "uncertainty_ew_arcsec", "uncertainty_ns_arcsec")
    values = (each[name].to_numpy(float) for name in columns)
    image = pd.factorize(each["image"], sort=True)[0]
    beam = float(each["psf_maj_arcsec"].max())
    return each[find_duplicates(*values, image, each["from_centre"].to_numpy(), beam).kept < 0]


@pytest.mark.parametrize(
    ("name", "catalog"), [("vast_bulge_8ep_8cat", "RACS-mid"), ("vast_southplane_20ep", "RACS-low")]
)
def test_hardly_any_source_has_a_twin(shared: Path, name: str, catalog: str) -> None:
    data = shared / "data" / name
    state, rows = FoldState.empty(), []
    for each, images in epochs_of(data):
        kept = without_duplicates(each)
        result = fold(state, kept.assign(epoch=kept["epoch"].astype(str)), None, images)
        state = result.state
        # By measurement, so that a merge can be followed.
        rows.append(result.associations.assign(step=len(rows)))
        for gone, into in result.merges.itertuples(index=False):
            for earlier in rows:
                earlier["source_id"] = earlier["source_id"].replace(gone, into)
    pairs = tree_of(unit_vectors(state.ra_deg, state.dec_deg)).query_pairs(np.radians(10.0 / 3600.0))
    labels = pd.read_parquet(data / "xmatch.parquet")
    labels = labels[labels["cat"] == catalog]
    labels["measurement_id"] = (
        labels["field"] + "_SB" + labels["sbid"].astype(str) + "/" + labels["component_id"].astype(str)
    )
    truth = labels.rename(columns={"ref_id": "true_source"}).assign(second_source=None)
    truth = truth.drop_duplicates("measurement_id")[["measurement_id", "true_source", "second_source"]]
    score = score_association(pd.concat(rows), truth)
    ratios = f"{score.pair_recall:.6f} {score.pair_precision:.6f}"
    print(f"{len(pairs)} pairs within 10 arcsec of {len(state)} sources; {ratios}")
    assert len(pairs) <= 3e-4 * len(state)
    assert score.pair_recall >= 0.9999
    assert score.pair_precision >= 0.9999
