"""Pieces of the delivered images around a source, one an image, with the flux that each has there."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.around import Surroundings, surroundings
from contimg_assets.errors import InputError
from contimg_assets.photometry.cutouts import SourceCutout, SourceCutouts, cutout_of
from contimg_assets.photometry.images import pixel_beam
from contimg_assets.photometry.noise_tables import noise_of_table
from contimg_assets.photometry.off_place import peaks_of
from contimg_assets.pipeline.deliveries import ImageFiles, find_image, image_files
from contimg_assets.pipeline.forced_photometry import noise_known, positions_table
from contimg_assets.pipeline.store import EpochStore, store_of
from contimg_assets.reading.fits_images import open_delivered

# Side of a cutout where nobody says how large [beams]; neighbors within this many beams are fitted along.
SIZE_BEAMS, _NEIGHBOR_BEAMS = 10.0, 5.0
_STATED = ("ra_deg", "dec_deg", "radius_deg", "bmaj_arcsec", "bmin_arcsec", "bpa_deg")


def source_cutouts(
    config: Config,
    database: ProductsDatabase,
    source_id: str,
    *,
    epochs: Collection[str] = (),
    size_arcsec: float | None = None,
) -> SourceCutouts:
    """Cut the surroundings of a source from every image that covers it, and measure its flux there.

    Parameters
    ----------
    config : Config
        Says where deliveries are.
    database : ProductsDatabase
    source_id : str
        Id of a present or past source, or its position as `ProductsDatabase.find_source` takes it.
    epochs : collection of str, optional
        Only these.
    size_arcsec : float, optional
        Side of a cutout; ten beams if not given [arcsec].

    Raises
    ------
    InputError
        If an epoch has no image there.
    StoreError
        If there is no such source.
    """
    source = database.source(source_id)
    images = database.source_images(str(source["id"]))
    unknown = sorted(set(epochs) - set(images["epoch"]))
    if unknown:
        raise InputError(
            f"no image of epoch {', '.join(unknown)} covers source {source['id']}; those of "
            f"{', '.join(dict.fromkeys(images['epoch'])) or 'no epoch'} do"
        )
    if epochs:
        images = images[images["epoch"].isin(epochs)]
    nothing = images["path"].isna()
    left_out = [
        f"{epoch}, image {image}: images.csv names no FITS image; add it in the column 'path'"
        for epoch, image in images.loc[nothing, ["epoch", "image"]].itertuples(index=False)
    ]
    here = _Source.of(config, database, source, images, size_arcsec or 0.0)
    made = []
    for row in images[~nothing].to_dict("records"):
        try:
            made.append(here.on_image(row, SIZE_BEAMS * row["bmaj_arcsec"] if size_arcsec is None else size_arcsec))
        except InputError as error:
            left_out.append(f"{row['epoch']}, image {row['image']}: {error}")
    return SourceCutouts(str(source["id"]), tuple(made), tuple(left_out))


@dataclass(frozen=True)
class _Source:
    """A source of a project, and what is around it.

    Attributes
    ----------
    row : of SOURCES
    near : other sources, by their mean positions: id, ra_deg, dec_deg
    around : what is fitted along on each image
    """

    config: Config
    store: EpochStore
    row: pd.Series
    near: pd.DataFrame
    around: Surroundings

    @classmethod
    def of(
        cls, config: Config, database: ProductsDatabase, source: pd.Series, images: pd.DataFrame, size_arcsec: float
    ) -> _Source:
        """With what is within cutouts of this size, or of the usual one, on images."""
        widest = float(images["bmaj_arcsec"].max()) if len(images) else 0.0
        near = database.cone(source["ra_deg"], source["dec_deg"], max(size_arcsec, SIZE_BEAMS * widest))
        near = near.loc[near["id"] != source["id"], ["id", "ra_deg", "dec_deg"]].reset_index(drop=True)
        around = surroundings(database, source, images, _NEIGHBOR_BEAMS * widest)
        return cls(config, store_of(config), source, near, around)

    def on_image(self, image: Mapping[Hashable, Any], size_arcsec: float) -> SourceCutout:
        """Its cutout and flux on one image.

        Raises
        ------
        InputError
            If the image cannot be used.
        """
        (place,) = positions_table(self.around.place, image).to_dict("records")
        undetected, detections = self.around.on(image)
        beside = pd.concat([detections, positions_table(undetected, image)], ignore_index=True)
        name, folder = str(image["image"]), self.config.incoming / str(image["epoch"])
        files = (image_files(folder) or {}).get(name, ImageFiles(image["path"]))
        path, maps = find_image(folder, files, self.config)
        with open_delivered(path, {name: image[name] for name in _STATED}) as opened:
            known = noise_known(self.config, self.store, str(image["epoch"]), name, files)
            noise = noise_of_table(known, pixel_beam(opened), opened.shape)
            cutout = cutout_of(opened, place["ra_deg"], place["dec_deg"], size_arcsec, beside, maps, noise)
            flux = peaks_of(cutout.flux.to_frame().T, self.around.place, opened.beam, image).iloc[0]
        peak, error = flux["flux_peak_mjy_beam"], flux["flux_peak_err_mjy_beam"]
        return SourceCutout(
            epoch=image["epoch"],
            image=image["image"],
            mjd=image["mjd"],
            cutout=replace(cutout, flux=flux),
            detected_mjy_beam=image["flux_peak_corr_mjy_beam"],
            detected_err_mjy_beam=image["flux_peak_err_corr_mjy_beam"],
            forced_mjy_beam=(peak - image["flux_add_mjy"]) * image["flux_mult"],
            forced_err_mjy_beam=error * image["flux_mult"],
            others=self.near[["id"]].join(positions_table(self.near, image)),
        )
