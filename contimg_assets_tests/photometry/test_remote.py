"""Images at URLs: only the parts that are needed are fetched, and fluxes are those of the file."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from contimg_assets.errors import InputError
from contimg_assets.photometry.beam import PixelBeam
from contimg_assets.photometry.cutouts import cutout_of
from contimg_assets.photometry.images import around, forced_photometry
from contimg_assets.reading.files import resolve_image
from contimg_assets.reading.fits_images import open_image, open_remote
from contimg_assets.simulate import SurveyParameters, simulate_survey
from contimg_assets.simulate.pixels import add_point_sources, beam_noise
from contimg_assets_tests.projects import make_project

SIDE = 1800
BEAM = PixelBeam.of_sky(10.0, 7.0, 20.0, np.array([[-2.0, 0.0], [0.0, 2.0]]))


class Server(ThreadingHTTPServer):
    """Files of a folder, whole or in ranges; counts the bytes that it sends."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.sent, self.ranges = folder, 0, True

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def _answer(self, *, with_content: bool) -> None:
        file = self.server.folder / self.path.lstrip("/")
        if not file.is_file():
            self.send_error(404)
            return
        size = file.stat().st_size
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if self.server.ranges else None
        first, last = (int(found[1]), min(int(found[2] or size - 1), size - 1)) if found else (0, size - 1)
        self.send_response(206 if found else 200)
        if self.server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if found:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        if with_content:
            with file.open("rb") as stream:
                stream.seek(first)
                self.wfile.write(stream.read(last - first + 1))
            self.server.sent += last - first + 1

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """An image of four axes with sources, and where they are."""
    rng = np.random.default_rng(4)
    x, y = rng.uniform(20, SIDE - 20, (2, 400))
    flux = rng.uniform(5.0, 40.0, 400)
    pixels = add_point_sources(beam_noise((SIDE, SIDE), BEAM, rng), x, y, flux, BEAM)
    pixels[: SIDE // 4, : SIDE // 4] = np.nan
    header = fits.Header({
        "CTYPE1": "RA---SIN", "CRPIX1": 900.0, "CRVAL1": 0.1, "CDELT1": -2 / 3600, "CUNIT1": "deg",
        "CTYPE2": "DEC--SIN", "CRPIX2": 900.0, "CRVAL2": -30.0, "CDELT2": 2 / 3600, "CUNIT2": "deg",
        "BUNIT": "mJy/beam", "BMAJ": 10 / 3600, "BMIN": 7 / 3600, "BPA": 20.0,
    })  # fmt: skip
    file = tmp_path_factory.mktemp("images") / "image.fits"
    fits.writeto(file, pixels[None, None].astype(np.float32), header)
    places = WCS(header, naxis=2).pixel_to_world(x, y).icrs
    return file, pd.DataFrame({"x": x, "y": y, "flux": flux, "ra_deg": places.ra.deg, "dec_deg": places.dec.deg})


@pytest.fixture
def server(image: tuple[Path, pd.DataFrame]) -> Iterator[Server]:
    with Server(image[0].parent) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_fluxes_are_those_of_the_file_and_little_is_fetched(image: tuple[Path, pd.DataFrame], server: Server) -> None:
    file, sources = image
    corner = sources[(sources["x"] < 1500) & (sources["x"] > 1200) & (sources["y"] > 1200) & (sources["y"] < 1450)]
    others = sources.drop(corner.index)
    far = forced_photometry(server.url("image.fits"), corner, others=others)
    assert server.sent < 0.35 * file.stat().st_size
    near = forced_photometry(file, corner, others=others)
    assert len(corner) > 5
    assert far.index.equals(near.index)
    assert (far["reason"] == near["reason"]).all()
    there = near["reason"] == ""
    off = (far["flux_peak_mjy_beam"] - near["flux_peak_mjy_beam"]) / near["flux_peak_err_mjy_beam"]
    assert off[there].abs().max() < 0.3
    assert (far["flux_peak_err_mjy_beam"] / near["flux_peak_err_mjy_beam"])[there].between(0.9, 1.1).all()


def test_a_flux_does_not_depend_on_what_else_is_measured(image: tuple[Path, pd.DataFrame], server: Server) -> None:
    _, sources = image
    every = forced_photometry(server.url("image.fits"), sources)
    few = sources.iloc[::7]
    again = forced_photometry(server.url("image.fits"), few, others=sources.drop(few.index))
    pd.testing.assert_frame_equal(again, every.loc[few.index])
    good = every[every["reason"] == ""].index
    pull = (every["flux_peak_mjy_beam"] - sources["flux"])[good] / every["flux_peak_err_mjy_beam"][good]
    assert pull.std() == pytest.approx(1.0, abs=0.15)
    assert set(every["reason"]) >= {"", "blank"}


def test_positions_that_are_not_on_the_image_have_the_reason(server: Server) -> None:
    nowhere = pd.DataFrame({"ra_deg": [1.5, 180.0], "dec_deg": [-30.0, 30.0]}, index=["east", "behind"])
    found = forced_photometry(server.url("image.fits"), nowhere)
    assert found["reason"].to_dict() == {"east": "outside", "behind": "outside"}
    none = forced_photometry(server.url("image.fits"), nowhere[:0])
    assert len(none) == 0
    assert list(none.columns) == list(found.columns)


def test_what_cannot_be_fetched_is_told_in_a_sentence(server: Server) -> None:
    place = pd.DataFrame({"ra_deg": [0.1], "dec_deg": [-30.0]})
    (server.folder / "page.html").write_text("<html>" + "x" * 9000, encoding="utf-8")
    for name in ("missing.fits", "page.html"):
        with pytest.raises(InputError, match=name):
            forced_photometry(server.url(name), place)
    fits.writeto(server.folder / "small.fits", np.ones((9, 9)), fits.Header({"BUNIT": "mJy/beam"}), overwrite=True)
    with pytest.raises(InputError, match=r"small\.fits: has 9 x 9 pixels, and its image image\.fits 1800 x 1800"):
        forced_photometry(server.url("image.fits"), place, rms_map=server.url("small.fits"))
    url = server.url("image.fits")
    server.ranges = False
    with pytest.raises(InputError, match=r"image\.fits"):
        forced_photometry(url, place)


def test_maps_beside_an_image_at_a_url_are_used_wherever_they_are(
    image: tuple[Path, pd.DataFrame], server: Server
) -> None:
    file, sources = image
    rms = np.broadcast_to(1.0 + np.arange(SIDE) / SIDE, (SIDE, SIDE)).astype(np.float32)
    files = {"rms_map": rms, "background_map": np.full_like(rms, 0.3)}
    for name, pixels in files.items():
        unit = fits.Header({"BUNIT": "Jy/beam"})
        fits.writeto(server.folder / f"{name}.fits", pixels / np.float32(1000.0), unit, overwrite=True)
    few = sources[sources["y"] > 1000].iloc[:12]
    by_file = {name: server.folder / f"{name}.fits" for name in files}
    near = forced_photometry(file, few, **by_file)
    for maps in (by_file, {name: server.url(f"{name}.fits") for name in files}):
        far = forced_photometry(server.url("image.fits"), few, **maps)
        there = (far["reason"] == "") & (near["reason"] == "")
        assert there.sum() > 5
        expected = 1.0 + few["x"][there] / SIDE
        np.testing.assert_allclose(far["local_rms_mjy_beam"][there], expected, rtol=0.06)
        ratio = (far["local_rms_mjy_beam"] / near["local_rms_mjy_beam"])[there]
        assert ratio.between(0.95, 1.05).all()
        off = (far["flux_peak_mjy_beam"] - near["flux_peak_mjy_beam"]) / near["flux_peak_err_mjy_beam"]
        assert off[there].abs().max() < 0.3


def test_a_cutout_is_that_of_the_file_with_the_flux_of_the_stage(
    image: tuple[Path, pd.DataFrame], server: Server
) -> None:
    file, sources = image
    source = sources[sources["x"] > 900].iloc[0]
    place = float(source["ra_deg"]), float(source["dec_deg"])
    with open_image(file) as near, open_remote(server.url("image.fits")) as far:
        one, other = cutout_of(near, *place, 100.0), cutout_of(far, *place, 100.0)
        with pytest.raises(InputError, match="is not on it"):
            cutout_of(far, 90.0, -30.0, 100.0)
        staged = forced_photometry(server.url("image.fits"), source.to_frame().T)
    np.testing.assert_array_equal(one.image.pixels, other.image.pixels)
    np.testing.assert_allclose(one.image.to_pixels(*place), other.image.to_pixels(*place), atol=1e-6)
    assert other.flux["flux_peak_mjy_beam"] == pytest.approx(staged["flux_peak_mjy_beam"].item(), rel=1e-9)
    off = other.flux["flux_peak_mjy_beam"] - one.flux["flux_peak_mjy_beam"]
    assert abs(off) < 0.1 * one.flux["flux_peak_err_mjy_beam"]


def test_parts_of_an_axis_lie_on_it() -> None:
    assert around(50.0, 20.0, 100) == slice(40, 61)
    assert around(2.0, 20.0, 100) == slice(0, 13)
    assert around(500.0, 20.0, 100) == slice(99, 100)
    assert around(-500.0, 20.0, 100) == slice(0, 1)


@pytest.mark.parametrize(
    "name",
    ["https://example.org.evil.org/a.fits", "https://example.org/imagesX/a.fits", "http://example.org/images/a.fits",
     "https://example.org/images/../private/a.fits", "https://example.org/images/a::file:///etc/passwd",
     "file:///etc/passwd"],
)  # fmt: skip
def test_only_urls_that_the_configuration_allows_are_opened(name: str, tmp_path: Path) -> None:
    allowed = ["https://example.org/images"]
    assert resolve_image("https://example.org/images/a.fits", tmp_path, [], allowed, "x").startswith("https")
    with pytest.raises(InputError, match=r"paths\.image_urls"):
        resolve_image(name, tmp_path, [], allowed, "images.csv")


@pytest.mark.slow
def test_the_stage_measures_on_images_at_urls_once_they_are_allowed(tmp_path: Path) -> None:
    parameters = SurveyParameters(
        n_epochs=2, images_per_epoch=1, n_sources=60, image_radius_deg=0.6, missing_image_fraction=0.0, seed=4
    )
    simulate_survey(tmp_path / "survey", parameters, images=True)
    project = make_project(tmp_path / "project", tmp_path / "survey")
    with Server(tmp_path / "survey" / "incoming") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        project.deliver()
        for epoch in project.epochs:
            folder = project.folder / "incoming" / epoch
            images = pd.read_csv(folder / "images.csv", dtype=str)
            images["path"] = [server.url(f"{epoch}/{name}") for name in images["path"]]
            images.to_csv(folder / "images.csv", index=False)
            for file in folder.glob("*.fits"):
                file.unlink()
        assert project.run().complete
        told = project.project.store.read("forced_photometry", project.epochs[0], "forced_images")["problem"]
        assert "paths.image_urls" in told.iloc[0]
        assert server.sent == 0
        project.configure(paths={"image_urls": [server.url("")]})
        assert project.run().complete
        rows = project.rows()["forced_fluxes"]
        server.shutdown()
        thread.join()
    assert set(rows["epoch"]) == set(project.epochs)
    assert (rows["reason"] == "").mean() > 0.8
