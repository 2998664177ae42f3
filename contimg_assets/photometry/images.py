"""Forced fluxes at positions of the sky on an image in a file.

Belongs here: from sky and units to pixels and back. The fit is in `forced`, the noise in `noise`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from contimg_assets.errors import InputError
from contimg_assets.files.urls import is_url
from contimg_assets.photometry.beam import PixelBeam
from contimg_assets.photometry.forced import ImageNoise, forced_fluxes, noise_of, stamp_reach
from contimg_assets.photometry.noise import NoiseCorrelation, NoiseMap, box_medians, box_of, measure_noise
from contimg_assets.reading.fits_images import ImageFrame, RemoteImage, SkyImage, SkyMap, open_delivered, open_map
from contimg_assets.schemas.tables import TableLike, as_frame, numbers_of, require

_IN_MJY = {"flux": "flux_peak_mjy_beam", "flux_err": "flux_peak_err_mjy_beam"}
_IN_MJY |= {"background": "background_mjy_beam", "local_rms": "local_rms_mjy_beam"}
# Remote images are measured in pieces of so many beams on a side, and what lies around them.
_PIECE_BEAMS, _MARGIN_BEAMS = 60.0, 5.0
_NAMES = _IN_MJY | {"chi_squared": "chi_squared_fit"}
Maps = tuple[Path | str | None, Path | str | None]
"""Maps of rms and of background: a file (`Path`) or a URL (`str`) each, or none."""
NO_MAPS: Maps = (None, None)


def forced_photometry(
    image: Path | str,
    positions: TableLike,
    *,
    others: TableLike | None = None,
    rms_map: Path | str | None = None,
    background_map: Path | str | None = None,
) -> pd.DataFrame:
    """Peak flux densities at fixed positions of a FITS image, whether anything was detected there or not.

    Parameters
    ----------
    image : Path or str
        FITS image in a unit of flux density per beam, with the beam in its header: 2 to 4 axes, plain, gzipped or
        packed by fpack. Of one at a URL only the parts around the positions are fetched.
    positions : DataFrame, Table, QTable, pyarrow.Table or SkyCoord
        Columns ``ra_deg`` and ``dec_deg``, ICRS degrees.
    others : DataFrame, Table, QTable, pyarrow.Table or SkyCoord, optional
        Other sources, such as what the finder detected: those near a position are fitted along.
    rms_map : Path or str, optional
        FITS image of the local rms with the same pixels, or its URL. Measured from the image if not given.
    background_map : Path or str, optional
        FITS image of the background, likewise.

    Returns
    -------
    DataFrame
        A row a position, with its index: ``flux_peak_mjy_beam`` (signed; the integrated flux density too, of a point
        source) and its error ``flux_peak_err_mjy_beam``, ``chi_squared_fit`` and ``dof`` of the fit,
        ``background_mjy_beam``, ``local_rms_mjy_beam``, ``n_neighbors`` (positions fitted along), and ``reason``: why
        there is no flux, empty where there is one (`contimg_assets.photometry.forced.REASONS`).

    Raises
    ------
    InputError
        If a file cannot be used, maps have other pixels than the image, or a position is none.

    References
    ----------
    Condon 1997, PASP 109, 166 (noise that is correlated by the beam).

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import contimg_assets as ca
    >>> one = ca.SurveyParameters(n_epochs=1, images_per_epoch=1, n_sources=30, image_radius_deg=0.6, seed=3)
    >>> with TemporaryDirectory() as folder:
    ...     truth = ca.simulate_survey(folder, one, images=True)
    ...     (file,) = Path(folder).glob("incoming/*/*.fits")
    ...     bright = truth.sources.nlargest(3, "flux_mjy")
    ...     found = ca.forced_photometry(file, bright, others=truth.sources.drop(bright.index))
    >>> bool((found["flux_peak_mjy_beam"] > 5 * found["flux_peak_err_mjy_beam"]).all())
    True
    """
    places = _places(positions, "positions")
    beside = places[:0] if others is None else _places(others, "others")
    return measure_image(_file_or_url(image), places, beside, maps=(_given(rms_map), _given(background_map)))


def _file_or_url(name: Path | str) -> Path | str:
    return str(name) if is_url(name) else Path(name)


def _given(name: Path | str | None) -> Path | str | None:
    return None if name is None else _file_or_url(name)


def _places(table: TableLike, what: str) -> pd.DataFrame:
    frame = as_frame(table, f"table {what}")
    require(frame, ("ra_deg", "dec_deg"), what)
    numbers = {name: numbers_of(frame, name, what) for name in ("ra_deg", "dec_deg")}
    return pd.DataFrame(numbers, index=frame.index)


def measure_positions(
    image: SkyImage, places: pd.DataFrame, beside: pd.DataFrame, noise: ImageNoise, *, sums: bool = False
) -> pd.DataFrame:
    """`forced_photometry` on an image that is open, with noise from `image_noise`; places have ra_deg and dec_deg.

    ``sums``: see `contimg_assets.photometry.forced.forced_fluxes`.
    """
    x, y = image.to_pixels(places["ra_deg"], places["dec_deg"])
    others = image.to_pixels(beside["ra_deg"], beside["dec_deg"])
    found = forced_fluxes(image.pixels, x, y, noise, also=others, sums=sums)
    scaled = {ours: found[name] * image.to_mjy_beam for name, ours in _IN_MJY.items()}
    table = found.rename(columns=_NAMES).assign(**scaled)
    return table.set_index(places.index)


def measure_image(
    image: Path | str,
    places: pd.DataFrame,
    beside: pd.DataFrame,
    stated: Mapping[str, float] | None = None,
    maps: Maps = NO_MAPS,
) -> pd.DataFrame:
    """`forced_photometry` on an image, a file (`Path`) or a URL (`str`).

    Parameters
    ----------
    places, beside : DataFrame
        ra_deg and dec_deg in the image's own frame [deg].
    stated : mapping, optional
        What the manifest says of it, see `contimg_assets.reading.fits_images.open_image`.
    maps : tuple of two
        rms and background, each a file or a URL too.
    """
    with open_delivered(image, stated) as opened:
        if isinstance(opened, RemoteImage):
            return measure_remote(opened, places, beside, maps)
        return measure_positions(opened, places, beside, image_noise(opened, maps))


def measure_remote(
    image: RemoteImage, places: pd.DataFrame, beside: pd.DataFrame, maps: Maps = NO_MAPS, *, sums: bool = False
) -> pd.DataFrame:
    """`forced_photometry` on a remote image that is open: piece by piece, each with the noise that is measured there,
    or that the maps have there.

    Pieces lie on a fixed grid, so that a flux does not depend on what else is measured.
    """
    with _opened_maps(maps, image) as opened:
        return _by_pieces(image, places, beside, opened, sums)


def _by_pieces(
    image: RemoteImage, places: pd.DataFrame, beside: pd.DataFrame, maps: Sequence[SkyMap | None], sums: bool
) -> pd.DataFrame:
    x, y = image.to_pixels(places["ra_deg"], places["dec_deg"])
    pixel = float(np.sqrt(abs(np.linalg.det(image.pixel_matrix_arcsec))))
    side, margin = (round(beams * image.bmaj_arcsec / pixel) for beams in (_PIECE_BEAMS, _MARGIN_BEAMS))
    # What lies outside of the image is judged by the piece that is nearest.
    row, column = (
        np.clip(np.nan_to_num(at, nan=-1.0), 0, n - 1).astype(int) // side
        for at, n in zip((y, x), image.shape, strict=True)
    )
    found, order = [], []
    for cell in sorted(set(zip(row.tolist(), column.tolist(), strict=True))):
        here = (row == cell[0]) & (column == cell[1])
        middles = (side * (one + 0.5) for one in cell)
        part = [around(at, side + 2 * margin, n) for at, n in zip(middles, image.shape, strict=True)]
        others = pd.concat([beside, places.loc[~here, ["ra_deg", "dec_deg"]]], ignore_index=True)
        piece, noise = _piece(image, maps, part[0], part[1])
        found.append(measure_positions(piece, places[here], others, noise, sums=sums))
        order.append(np.flatnonzero(here))
    if not found:
        nowhere = _blank(image.part(slice(0, 1), slice(0, 1)))
        return measure_positions(nowhere, places, places, _no_noise(nowhere))
    return pd.concat(found).iloc[np.argsort(np.concatenate(order))]


def around(middle_pix: float, side_pix: float, n: int) -> slice:
    """Pixels of an axis of length n that lie within half a side of a place; at least one."""
    first = min(max(int(np.floor(middle_pix - side_pix / 2)), 0), n - 1)
    return slice(first, max(min(int(np.ceil(middle_pix + side_pix / 2)) + 1, n), first + 1))


def _piece(
    image: RemoteImage, maps: Sequence[SkyMap | None], rows: slice, columns: slice
) -> tuple[SkyImage, ImageNoise]:
    """A part of an image, and its noise; blank where the image or its map of rms has no value in it."""
    piece = image.part(rows, columns)
    if not np.isfinite(piece.pixels).any():
        return piece, _no_noise(piece)
    beam, level = pixel_beam(piece), _level(piece, maps, rows, columns)
    if not np.isfinite(level.rms).any():
        return _blank(piece), _no_noise(piece)
    return piece, noise_of(piece.pixels, beam, level)


def _blank(piece: SkyImage) -> SkyImage:
    return replace(piece, pixels=np.full(piece.pixels.shape, np.nan))


def _no_noise(piece: SkyImage) -> ImageNoise:
    """For a part without a value: its positions have none, with that reason."""
    beam, box = pixel_beam(piece), min(piece.pixels.shape)
    mesh = np.ones(tuple(-(-n // box) for n in piece.pixels.shape))
    return ImageNoise(beam, NoiseMap(box, mesh, 0.0 * mesh), NoiseCorrelation.of_beam(beam, stamp_reach(beam)))


def image_noise(image: SkyImage, maps: Maps = NO_MAPS) -> ImageNoise:
    """Noise of an open image, from the finder's maps (of rms, of background) where they are given.

    Raises
    ------
    InputError
        If a map cannot be used or has other pixels than the image, or the image has no pixel with a value.
    """
    return part_noise(image, slice(None), slice(None), image, maps)


def part_noise(
    image: SkyImage | RemoteImage, rows: slice, columns: slice, part: SkyImage, maps: Maps = NO_MAPS
) -> ImageNoise:
    """Noise of the part of an image that has these rows and columns, as `image_noise`.

    Raises
    ------
    InputError
        If a map cannot be used or has other pixels than the image, or the part has no pixel with a value.
    """
    with _opened_maps(maps, image) as opened:
        level = _level(part, opened, rows, columns)
    if not np.isfinite(level.rms).any():
        raise InputError(f"{image.path}: no pixel has a value; deliver the image again")
    return noise_of(part.pixels, pixel_beam(part), level)


def pixel_beam(image: ImageFrame) -> PixelBeam:
    """The restoring beam on the image's pixels."""
    return PixelBeam.of_sky(image.bmaj_arcsec, image.bmin_arcsec, image.bpa_deg, image.pixel_matrix_arcsec)


@contextmanager
def _opened_maps(maps: Maps, image: SkyImage | RemoteImage) -> Iterator[list[SkyMap | None]]:
    """The maps of an image, open.

    Raises
    ------
    InputError
        If one of them has other pixels.
    """
    with ExitStack() as held:
        opened = [None if one is None else held.enter_context(open_map(one)) for one in maps]
        for one in opened:
            if one is not None:
                one.check_belongs_to(image)
        yield opened


def _level(image: SkyImage, maps: Sequence[SkyMap | None], rows: slice, columns: slice) -> NoiseMap:
    """By the maps that there are, of which the image is these rows and columns; what is not given is measured."""
    beam, scale = pixel_beam(image), image.to_mjy_beam
    box = min(box_of(beam), *image.pixels.shape)
    # Where an rms is not above 0 there is none; a background may have either sign.
    rms, background = (
        None
        if one is None
        else box_medians(one.part(rows, columns), box, positive=positive) * (one.to_mjy_beam / scale)
        for one, positive in zip(maps, (True, False), strict=True)
    )
    if rms is not None and background is not None:
        return NoiseMap(box, rms, background)
    measured = measure_noise(image.pixels, beam)
    return NoiseMap(
        box, measured.rms if rms is None else rms, measured.background if background is None else background
    )
