"""Pieces of the delivered images around a source, one an image, with the flux that each has there."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Any

import pandas as pd

from contimg_assets.calibration.apply import positions_as_measured
from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.errors import InputError
from contimg_assets.photometry.cutouts import SourceCutout, SourceCutouts, cutout_of
from contimg_assets.pipeline.deliveries import ImageFiles, find_image, image_files
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
    made = []
    for row in images[~nothing].to_dict("records"):
        try:
            made.append(_on_image(config, database, source, row, size_arcsec))
        except InputError as error:
            left_out.append(f"{row['epoch']}, image {row['image']}: {error}")
    return SourceCutouts(str(source["id"]), tuple(made), tuple(left_out))


def _on_image(
    config: Config,
    database: ProductsDatabase,
    source: pd.Series,
    image: Mapping[Hashable, Any],
    size_arcsec: float | None,
) -> SourceCutout:
    size = SIZE_BEAMS * image["bmaj_arcsec"] if size_arcsec is None else size_arcsec
    reach = max(size, _NEIGHBOR_BEAMS * image["bmaj_arcsec"])
    near = database.cone(source["ra_deg"], source["dec_deg"], reach)[["id", "ra_deg", "dec_deg"]]
    near = near.assign(**dict(zip(("ra_deg", "dec_deg"), positions_as_measured(near, image), strict=True)))
    place = near[near["id"] == source["id"]].iloc[0]
    others = near[near["id"] != source["id"]].reset_index(drop=True)
    folder = config.incoming / image["epoch"]
    files = (image_files(folder) or {}).get(image["image"], ImageFiles(image["path"]))
    path, maps = find_image(folder, files, config)
    stated = {name: image[name] for name in _STATED}
    with open_delivered(path, stated) as opened:
        cutout = cutout_of(opened, place["ra_deg"], place["dec_deg"], size, others, maps)
    return SourceCutout(
        epoch=image["epoch"],
        image=image["image"],
        mjd=image["mjd"],
        cutout=cutout,
        detected_mjy_beam=image["flux_peak_corr_mjy_beam"],
        detected_err_mjy_beam=image["flux_peak_err_corr_mjy_beam"],
        forced_mjy_beam=(cutout.flux["flux_peak_mjy_beam"] - image["flux_add_mjy"]) * image["flux_mult"],
        forced_err_mjy_beam=cutout.flux["flux_peak_err_mjy_beam"] * image["flux_mult"],
        others=others,
    )
