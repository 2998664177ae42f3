"""Images of a simulated survey: forced fluxes on them are the true ones, with the image's own errors."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from contimg_assets.config import Config
from contimg_assets.ingest.epoch import read_epoch
from contimg_assets.ingest.header import image_from_header
from contimg_assets.photometry.beam import PixelBeam
from contimg_assets.photometry.images import forced_photometry
from contimg_assets.simulate import SurveyParameters, SurveyTruth, simulate_survey
from contimg_assets.simulate.pixels import artifacts
from contimg_assets.simulate.rigid import rigidly_moved
from contimg_assets.sky.sphere import separation_arcsec

PARAMETERS = SurveyParameters(
    n_epochs=2, images_per_epoch=2, n_sources=250, n_transients=2, offset_sigma_arcsec=6.0, flux_scale_sigma=0.3, seed=5
)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SurveyTruth]:
    out = tmp_path_factory.mktemp("survey")
    return out, simulate_survey(out, PARAMETERS, images=True)


def test_everything_else_is_the_same_without_images(survey: tuple[Path, SurveyTruth], tmp_path: Path) -> None:
    plain = simulate_survey(tmp_path, PARAMETERS)
    for name in ("sources", "measurements", "images", "light_curves"):
        pd.testing.assert_frame_equal(getattr(plain, name), getattr(survey[1], name))
    catalogs = [file.relative_to(tmp_path) for file in tmp_path.glob("incoming/*/*_tile*.csv")]
    assert len(catalogs) == len(plain.images)
    assert all((tmp_path / file).read_bytes() == (survey[0] / file).read_bytes() for file in catalogs)
    assert not list(tmp_path.glob("incoming/*/*.fits"))


def test_manifests_name_images_whose_headers_agree_with_them(survey: tuple[Path, SurveyTruth]) -> None:
    out, truth = survey
    for epoch in sorted((out / "incoming").iterdir()):
        images = read_epoch(epoch, epoch.name, Config(root=out)).images
        for row in images.itertuples():
            said = image_from_header(epoch / str(row.path))
            for name in ("ra_deg", "dec_deg", "bmaj_arcsec", "bmin_arcsec", "bpa_deg", "freq_mhz"):
                assert said[name] == pytest.approx(getattr(row, name), abs=1e-6), name
            assert said["mjd_mid"] == pytest.approx(row.mjd, abs=1e-6)
    assert len(list(out.glob("incoming/*/*.fits"))) == len(truth.images)


def test_fluxes_on_the_images_are_the_true_ones(survey: tuple[Path, SurveyTruth]) -> None:
    """At the places and scales that the images' own errors make of them; point sources alone, beside anything."""
    out, truth = survey
    pulls = []
    for image in truth.images.itertuples():
        flux = truth.light_curves[truth.light_curves["epoch"] == image.epoch].set_index("true_source")["flux_mjy"]
        sources = truth.sources.assign(now=flux.loc[truth.sources["true_source"]].to_numpy())
        n = len(sources)
        center = np.full(n, image.ra_deg), np.full(n, image.dec_deg)
        shift = np.full(n, -image.dra_arcsec), np.full(n, -image.ddec_arcsec)
        ra, dec = rigidly_moved(sources["ra_deg"], sources["dec_deg"], *center, *shift)
        sources = sources.assign(ra_deg=ra, dec_deg=dec)
        inside = separation_arcsec(ra, dec, *center) < 0.97 * image.radius_deg * 3600
        # Faint sources below everything are noise to a fit; variables that are off are not there.
        point = sources[inside & (sources["size_arcsec"] == 0) & (sources["flux_mjy"] > 5)]
        found = forced_photometry(out / "incoming" / image.epoch / f"{image.image}.fits", point,
                                  others=sources.drop(point.index).query("now > 5"))  # fmt: skip
        kept = found["reason"] == ""
        assert kept.mean() > 0.85
        error = found["flux_peak_err_mjy_beam"]
        pulls.append(((found["flux_peak_mjy_beam"] - point["now"] / image.flux_mult) / error)[kept])
    pull = pd.concat(pulls)
    assert len(pull) > 200
    # The crowd of fainter sources adds to the noise a little, and to the mean.
    assert pull.median() == pytest.approx(0.0, abs=0.2)
    assert pull.std() == pytest.approx(1.0, abs=0.15)


def test_artifacts_are_around_bright_sources_and_leave_their_own_fluxes() -> None:
    beam = PixelBeam.of_sky(12.0, 8.0, 30.0, np.array([[-2.0, 0.0], [0.0, 2.0]]))
    one, other = (
        artifacts((301, 301), ([150.0, 2.0], [150.0, 299.0]), [100.0, 1e-6], beam, np.random.default_rng(seed))
        for seed in (1, 2)
    )
    y, x = np.indices(one.shape) - 150
    distance = np.sqrt(beam.squared(x, y))
    assert one[150, 150] == 0
    assert np.abs(one[distance > 15.1]).max() < 1e-4
    assert np.abs(one[(distance > 1) & (distance < 3)]).std() > 10
    assert one[distance < 8].mean() < 0
    # Of another image: other spokes, the same bowl.
    assert np.abs(one - other).max() > 10
    assert other[distance < 8].mean() == pytest.approx(one[distance < 8].mean(), rel=0.3)


def test_a_survey_without_artifacts_says_nothing_of_them(survey: tuple[Path, SurveyTruth]) -> None:
    assert "artifact" not in (survey[0] / "truth" / "parameters.json").read_text(encoding="utf-8")


def test_images_with_artifacts_have_the_same_noise_and_the_same_fluxes_of_sources(
    survey: tuple[Path, SurveyTruth], tmp_path: Path
) -> None:
    out, truth = survey
    simulate_survey(tmp_path, PARAMETERS.model_copy(update={"artifact_fraction": 0.02}), images=True)
    image = truth.images.iloc[1]
    name = Path("incoming") / image["epoch"] / f"{image['image']}.fits"
    with fits.open(out / name) as plain, fits.open(tmp_path / name) as changed:
        difference = (changed[0].data - plain[0].data)[0, 0] * 1000
        inside = truth.sources.assign(
            off=separation_arcsec(truth.sources["ra_deg"], truth.sources["dec_deg"], image["ra_deg"], image["dec_deg"])
        ).query("off < 4000")
        brightest = inside.nlargest(1, "flux_mjy").iloc[0]
        place = SkyCoord(brightest["ra_deg"], brightest["dec_deg"], unit="deg")
        x, y = (int(np.rint(one)) for one in WCS(plain[0].header, naxis=2).world_to_pixel(place))
    beside = difference[y - 12 : y + 13, x - 12 : x + 13]
    assert np.abs(beside).max() > 0.005 * brightest["flux_mjy"]
    assert np.abs(difference[y, x]) < 0.01 * brightest["flux_mjy"]
    # Far from everything nothing is changed.
    assert np.median(np.abs(difference[np.isfinite(difference)])) < 0.1 * image["rms_mjy_beam"]
