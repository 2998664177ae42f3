"""The stage `forced_photometry`: fluxes on the delivered images at every known place without a detection.

What is measured on an epoch's images depends on the sources of all epochs, earlier and later. A source's place is that
of its first detection, which later epochs do not move, so that in any order of arrival the same is measured; and an
older image is looked at again only where sources came, went or have another first detection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from contimg_assets.calibration.apply import positions_as_measured
from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.forced import EpochPositions, SurveyPositions, write_forced, written_forced
from contimg_assets.errors import InputError
from contimg_assets.figures.summaries import plot_forced_fluxes
from contimg_assets.identity.versions import combine_versions, version_of_value
from contimg_assets.photometry.beside import any_within, near_bright
from contimg_assets.photometry.empty_places import empty_pull
from contimg_assets.photometry.forced import EDGE, OUTSIDE, ImageNoise
from contimg_assets.photometry.monitored import read_monitored
from contimg_assets.photometry.noise_tables import noise_of_table, noise_table
from contimg_assets.photometry.off_place import peaks_of
from contimg_assets.pipeline import inputs as inputs_
from contimg_assets.pipeline import progress
from contimg_assets.pipeline.chain import Work
from contimg_assets.pipeline.deliveries import NO_IMAGES, ImageFiles, file_version, find_image, image_files, image_state
from contimg_assets.pipeline.inputs import FITS_IMAGES, in_time_order, is_fresh
from contimg_assets.pipeline.outcomes import MEASURED_AGAIN, UNCHANGED, Check, Content, Made, Outcome
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.stages import FORCED_PRODUCTS, FORCED_STAGE, PRODUCTS
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.schemas.core import frame_of
from contimg_assets.schemas.forced import FORCED_CONSTANTS, FORCED_FLUXES, FORCED_IMAGES, IMAGE_NOISE
from contimg_assets.schemas.tables import stand_among

if TYPE_CHECKING:
    from contimg_assets.photometry.images import Maps
    from contimg_assets.reading.fits_images import RemoteImage, SkyImage

IMAGES_USABLE, FITS_SUCCEED, NOISE_HOLDS = "images_usable", "fits_succeed", "noise_holds"
# Positions that are not on the image are no failed fits; of the others at most so many may fail.
_MAX_FAILED = 0.2
_LEAST_POSITIONS = 20
# Scatter of fluxes at empty places over their errors.
_PULLS = (0.9, 1.1)
# A position's fit depends on others within this many beams, and on nothing beyond.
_REACH_BEAMS = 2.6
_STATED = ("ra_deg", "dec_deg", "radius_deg", "bmaj_arcsec", "bmin_arcsec", "bpa_deg")
_KEY, _PLACE = ["position", "monitored"], ["ra_deg", "dec_deg"]
_MEASURED = [name for name in FORCED_FLUXES.names if name not in ("image", "near_bright", *_KEY, *_PLACE)]
_NO_MONITORED = pd.DataFrame({"name": pd.Series(dtype=object), "ra_deg": np.empty(0), "dec_deg": np.empty(0)})


class Positions:
    """What is to be measured on images, of which versions: the sources in the database, and the monitored list.

    Nothing is read before somebody asks.
    """

    def __init__(self, config: Config, database: ProductsDatabase) -> None:
        self._file, self._database = config.monitor_file, database

    @cached_property
    def survey(self) -> SurveyPositions:
        """The positions themselves.

        Raises
        ------
        InputError
            If the monitored list cannot be used.
        """
        return SurveyPositions(self._database, _NO_MONITORED if self._file is None else read_monitored(self._file))

    @cached_property
    def _sources(self) -> SurveyPositions:
        return SurveyPositions(self._database, _NO_MONITORED)

    @cached_property
    def _monitored(self) -> str:
        return "" if self._file is None else file_version(self._file, wholly=True)

    def version(self, epoch: str) -> str:
        """Version of what is to be measured on the images of an epoch."""
        return combine_versions(self._sources.version(epoch), self._monitored)


@dataclass(frozen=True)
class Forced:
    """The stage's work on an epoch."""

    config: Config
    store: EpochStore
    positions: Positions

    def make(self, epoch: str, inputs: Mapping[str, str]) -> Content:
        """Forced fluxes of one epoch.

        Raises
        ------
        InputError
            If the monitored list cannot be used. What is wrong with an image is said in a row of its own.
        """
        folder = self.config.incoming / epoch
        named = dict(image_files(folder) or {}) if inputs[FITS_IMAGES] != NO_IMAGES else {}
        wanted = self.positions.survey.of(epoch)
        stored = self._stored(epoch, inputs)
        measured = [
            self._on_image(folder, image, named[image["image"]], wanted, stored)
            for image in wanted.images.to_dict("records")
            if image["image"] in named
        ]
        return _content(measured)

    def _stored(self, epoch: str, inputs: Mapping[str, str]) -> _Stored:
        record = self.store.record(FORCED_STAGE.name, epoch)
        if record is None or record.code_version != FORCED_STAGE.code_version(self.config):
            return _Stored(FORCED_FLUXES.empty(), IMAGE_NOISE.empty(), FORCED_IMAGES.empty(), same=False)
        fluxes, noise, images = (
            frame_of(self.store.read_recorded(record, schema.name))
            for schema in (FORCED_FLUXES, IMAGE_NOISE, FORCED_IMAGES)
        )
        same = all(record.inputs.get(name) == inputs[name] for name in (FITS_IMAGES, PRODUCTS.name))
        return _Stored(fluxes, noise, images, same)

    def _on_image(
        self,
        folder: Path,
        image: Mapping[Any, Any],
        files: ImageFiles,
        wanted: EpochPositions,
        stored: _Stored,
    ) -> _Measured:
        name, allowed = str(image["image"]), (self.config.image_roots, self.config.paths.image_urls)
        state = image_state(folder, files, *allowed)
        places = _of_image(wanted.places, name)
        try:
            path, maps = find_image(folder, files, self.config)
            with _opened(path, image) as opened:
                on = _Opened.of(opened, image, maps, stored.noise_of(name, state))
                noise, seen, constants = on.noise, _of_image(wanted.detections, name), _of_image(wanted.constants, name)
                fluxes = _measure(on, places, seen, stored.fluxes_of(name))
                checked = _measure_constants(on, constants, seen, places)
                beside = combine_versions(state, version_of_value(seen[_PLACE].to_numpy().tolist()))
                pull = stored.pull_of(name, beside)
                if pull is None:
                    pull = on.empty_pull(seen)
        except InputError as error:
            fluxes, checked, of_noise = (one.empty() for one in (FORCED_FLUXES, FORCED_CONSTANTS, IMAGE_NOISE))
            return _Measured(name, fluxes, checked, of_noise, state, len(places), self.config.told(str(error)))
        of_noise = IMAGE_NOISE.empty() if noise is None else noise_table(name, noise)
        return _Measured(name, fluxes, checked, of_noise, state, len(places), "", pull, beside)


def _opened(path: Path | str, image: Mapping[Any, Any]) -> AbstractContextManager[SkyImage | RemoteImage]:
    # Most surveys have no images, and what opens them takes half a second to load.
    from contimg_assets.reading.fits_images import open_delivered

    return open_delivered(path, {key: image[key] for key in _STATED})


@dataclass(frozen=True)
class _Opened:
    """An open image and what is known of it.

    Attributes
    ----------
    frame : the image
    image : what the database has of it, with its corrections
    maps : of rms and of background
    noise : None of a remote image, where it is measured piece by piece
    """

    frame: SkyImage | RemoteImage
    image: Mapping[Any, Any]
    maps: Maps
    noise: ImageNoise | None

    @classmethod
    def of(cls, frame: SkyImage | RemoteImage, image: Mapping[Any, Any], maps: Maps, stored: pd.DataFrame) -> _Opened:
        """With the noise that is stored, else measured."""
        from contimg_assets.photometry.images import image_noise, pixel_beam
        from contimg_assets.reading.fits_images import RemoteImage

        if isinstance(frame, RemoteImage):
            return cls(frame, image, maps, None)
        noise = noise_of_table(stored, pixel_beam(frame), frame.pixels.shape)
        return cls(frame, image, maps, image_noise(frame, maps) if noise is None else noise)

    def empty_pull(self, seen: pd.DataFrame) -> tuple[float, float]:
        """See `empty_pull`; of a remote image it would fetch everything."""
        from contimg_assets.reading.fits_images import RemoteImage

        if self.noise is None or isinstance(self.frame, RemoteImage):
            return float("nan"), float("nan")
        return empty_pull(self.frame.pixels, self.noise, self.frame.to_pixels(seen["ra_deg"], seen["dec_deg"]))

    def measured_at(self, places: pd.DataFrame, beside: pd.DataFrame, *, sums: bool = False) -> pd.DataFrame:
        """Places with what is measured there, beside positions that are as the image has them.

        ``sums``: see `contimg_assets.photometry.forced.forced_fluxes`.
        """
        from contimg_assets.photometry.images import measure_positions, measure_remote
        from contimg_assets.reading.fits_images import RemoteImage

        at = positions_table(places, self.image)
        if isinstance(self.frame, RemoteImage):
            found = measure_remote(self.frame, at, beside, self.maps, sums=sums)
        else:
            assert self.noise is not None
            found = measure_positions(self.frame, at, beside, self.noise, sums=sums)
        found = peaks_of(found, places, self.frame.beam, self.image)
        return places.reset_index(drop=True).assign(**{name: found[name].to_numpy() for name in _MEASURED})


@dataclass(frozen=True)
class _Stored:
    """What was measured of an epoch before; ``same``: of the same images and the same products."""

    fluxes: pd.DataFrame
    noise: pd.DataFrame
    images: pd.DataFrame
    same: bool

    def noise_of(self, image: str, state: str) -> pd.DataFrame:
        """Noise of an image, if its files are in this state still."""
        known = (_of_image(self.images, image)["files"] == state).any()
        return _of_image(self.noise, image) if known else IMAGE_NOISE.empty()

    def fluxes_of(self, image: str) -> pd.DataFrame:
        """Fluxes that may be kept: none where anything but the sources of other epochs has changed."""
        return _of_image(self.fluxes, image) if self.same else FORCED_FLUXES.empty()

    def pull_of(self, image: str, beside: str) -> tuple[float, float] | None:
        """Scatter at empty places, if it was measured on these files beside these detections."""
        known = _of_image(self.images, image)
        if not (known["beside"] == beside).any():
            return None
        return float(known["empty_pull"].iloc[0]), float(known["empty_pull_err"].iloc[0])


@dataclass(frozen=True)
class _Measured:
    """What became of an image."""

    image: str
    fluxes: pd.DataFrame
    constants: pd.DataFrame
    noise: pd.DataFrame
    state: str
    n_positions: int
    problem: str
    pull: tuple[float, float] = (np.nan, np.nan)
    beside: str = ""


def noise_known(config: Config, store: EpochStore, epoch: str, image: str, files: ImageFiles) -> pd.DataFrame:
    """Rows of IMAGE_NOISE of an image, as the stage measured it on these files; none if it did not."""
    record = store.record(FORCED_STAGE.name, epoch)
    if record is None or record.code_version != FORCED_STAGE.code_version(config):
        return IMAGE_NOISE.empty()
    images, noise = (frame_of(store.read_recorded(record, schema.name)) for schema in (FORCED_IMAGES, IMAGE_NOISE))
    state = image_state(config.incoming / epoch, files, config.image_roots, config.paths.image_urls)
    return _Stored(FORCED_FLUXES.empty(), noise, images, same=False).noise_of(image, state)


def _of_image(table: pd.DataFrame, image: str) -> pd.DataFrame:
    return table[table["image"] == image].reset_index(drop=True)


def positions_table(places: pd.DataFrame, image: Mapping[Any, Any]) -> pd.DataFrame:
    """Where an image has some places: ra_deg, dec_deg."""
    return pd.DataFrame(dict(zip(_PLACE, positions_as_measured(places, image), strict=True)))


def _measure(on: _Opened, places: pd.DataFrame, detections: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Rows of FORCED_FLUXES of an image: what is known stays, but where another position came or went nearby."""
    keep = _unchanged(places, known, _REACH_BEAMS * on.frame.bmaj_arcsec)
    # What is monitored changes no flux of a source; and it may be a source, or near one, whose flux it then has.
    monitored = places["monitored"].to_numpy(dtype=bool)
    fresh = [
        on.measured_at(places[~keep & of], _beside(on, detections, places[others]), sums=sums)
        for of, others, sums in ((~monitored, keep & ~monitored, False), (monitored, keep | ~monitored, True))
    ]
    kept = places[keep].merge(known[[*_KEY, *_MEASURED]], on=_KEY)
    rows = pd.concat([part for part in (*fresh, kept) if len(part)] or fresh[:1], ignore_index=True)
    bright = near_bright(positions_table(rows, on.image), detections, on.frame.bmaj_arcsec)
    return rows.assign(near_bright=bright)[FORCED_FLUXES.names]


def _beside(on: _Opened, detections: pd.DataFrame, places: pd.DataFrame) -> pd.DataFrame:
    """What is fitted along: detections, and other places as the image has them; ra_deg, dec_deg."""
    return pd.concat([detections[_PLACE], positions_table(places, on.image)], ignore_index=True)


def _measure_constants(
    on: _Opened, constants: pd.DataFrame, detections: pd.DataFrame, places: pd.DataFrame
) -> pd.DataFrame:
    """Rows of FORCED_CONSTANTS: as where nothing is detected, so that a source's own detection is not fitted along."""
    others = detections[~stand_among(detections["measurement_id"], constants["measurement_id"])]
    apart = ~near_bright(positions_table(constants, on.image), others, on.frame.bmaj_arcsec)
    undetected = places[~places["monitored"].to_numpy(dtype=bool)]
    return on.measured_at(constants[apart], _beside(on, others, undetected))[FORCED_CONSTANTS.names]


def _unchanged(places: pd.DataFrame, known: pd.DataFrame, reach_arcsec: float) -> np.ndarray:
    """Whether each place was measured before, with the same places within reach as now, shape (n,)."""
    rows = [*_KEY, *_PLACE]
    now, before = (pd.MultiIndex.from_frame(table[rows]) for table in (places, known))
    same = np.asarray(now.isin(before))
    if not same.any():
        return same
    changed = pd.concat([places.loc[~same, _PLACE], known.loc[~before.isin(now), _PLACE]])
    return np.asarray(same & ~any_within(places, changed, reach_arcsec))


def _content(measured: list[_Measured]) -> Content:
    fluxes = _together([one.fluxes for one in measured], FORCED_FLUXES.empty())
    images = pd.DataFrame(
        {
            "image": [one.image for one in measured],
            "n_positions": [one.n_positions for one in measured],
            "n_fluxes": [int((one.fluxes["reason"] == "").sum()) for one in measured],
            "problem": [one.problem for one in measured],
            "empty_pull": [one.pull[0] for one in measured],
            "empty_pull_err": [one.pull[1] for one in measured],
            "files": [one.state for one in measured],
            "beside": [one.beside for one in measured],
        }
    )
    images = images if len(images) else FORCED_IMAGES.empty()
    on_image = fluxes[~fluxes["reason"].isin([OUTSIDE, EDGE])]
    reasons = on_image.loc[on_image["reason"] != "", "reason"].value_counts()
    return Content(
        tables={
            FORCED_FLUXES.name: fluxes.sort_values(list(FORCED_FLUXES.key), ignore_index=True),
            FORCED_IMAGES.name: images,
            IMAGE_NOISE.name: _together([one.noise for one in measured], IMAGE_NOISE.empty()),
            FORCED_CONSTANTS.name: _together([one.constants for one in measured], FORCED_CONSTANTS.empty()),
        },
        facts={
            "n_images": len(images),
            "n_images_without_fluxes": int((images["problem"] != "").sum()),
            "n_fluxes": int(images["n_fluxes"].sum()),
            **{f"n_{reason}": int(n) for reason, n in sorted(reasons.items())},
        },
        checks=[
            Check.of(IMAGES_USABLE, [one.problem for one in measured if one.problem]),
            Check.of(FITS_SUCCEED, _failed_fits(on_image)),
            Check.of(NOISE_HOLDS, _wrong_noise(images)),
        ],
        figures=partial(_figures, fluxes),
    )


def _figures(fluxes: pd.DataFrame) -> dict[str, bytes]:
    return {"forced fluxes": plot_forced_fluxes(fluxes)} if (fluxes["reason"] == "").any() else {}


def _together(parts: list[pd.DataFrame], empty: pd.DataFrame) -> pd.DataFrame:
    some = [part for part in parts if len(part)]
    return pd.concat(some, ignore_index=True) if some else empty


def _failed_fits(on_image: pd.DataFrame) -> list[str]:
    sentences = []
    for image, rows in on_image.groupby("image"):
        share = float((rows["reason"] != "").mean())
        if len(rows) >= _LEAST_POSITIONS and share > _MAX_FAILED:
            most = rows.loc[rows["reason"] != "", "reason"].mode().iloc[0]
            sentences.append(f"image {image}: {share:.0%} of {len(rows)} positions have no flux, most of them: {most}")
    return sentences


def _wrong_noise(images: pd.DataFrame) -> list[str]:
    low, high = _PULLS
    # Beyond what the number of places lets it scatter.
    off = images["empty_pull"].sub((low + high) / 2).abs() - 3.0 * images["empty_pull_err"]
    wrong = images[off > (high - low) / 2]
    return [
        f"image {image}: fluxes at empty places scatter by {pull:.2f} of their errors"
        for image, pull in wrong[["image", "empty_pull"]].itertuples(index=False)
    ]


def recorded_forced(config: Config, database: ProductsDatabase) -> dict[str, EpochRecord]:
    """What the forced fluxes of each epoch in the database were written from."""
    return {
        epoch: EpochRecord(FORCED_PRODUCTS.name, epoch, version_of_value([version, code]), code,
                           {FORCED_STAGE.name: version}, {})
        for epoch, (version, code) in written_forced(database).items()
    }  # fmt: skip


def write_forced_products(work: Work, database: ProductsDatabase) -> Iterator[Outcome]:
    """Write the forced fluxes of the run's epochs, and of others that were measured again, in one transaction."""
    measured = {epoch: work.store.record(FORCED_STAGE.name, epoch) for epoch in work.store.epochs(FORCED_STAGE.name)}
    wanted: dict[str, EpochRecord] = {}
    for epoch in in_time_order(measured, work.store):
        source, asked = measured[epoch], work.is_asked(epoch)
        if source is None or work.store.is_deleted(epoch):
            continue
        inputs = inputs_.of(FORCED_PRODUCTS, epoch, work.world)
        written = work.world.record(FORCED_PRODUCTS, epoch)
        if is_fresh(written, inputs, work.code) and not (asked and work.forced):
            if asked and written is not None:
                progress.report(work.stage.name, epoch)
                yield Made(written, note=UNCHANGED)
            continue
        wanted[epoch] = source
    rows = {epoch: work.store.read_recorded(record, FORCED_FLUXES.name) for epoch, record in wanted.items()}
    if wanted:
        write_forced(
            database, {epoch: (record.data_version, rows[epoch]) for epoch, record in wanted.items()}, work.code
        )
    now = recorded_forced(work.world.config, database)
    for epoch in wanted:
        asked = work.is_asked(epoch)
        progress.report(work.stage.name, epoch)
        yield Made(now[epoch], {"fluxes written": rows[epoch].num_rows}, note="" if asked else MEASURED_AGAIN)
