"""Noise of images as a table, so that what takes the longest to measure is measured once an image."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.photometry.beam import PixelBeam
from contimg_assets.photometry.forced import ImageNoise
from contimg_assets.photometry.noise import NoiseCorrelation, NoiseMap, box_of
from contimg_assets.schemas.forced import IMAGE_NOISE
from contimg_assets.sky.arrays import Floats


def noise_table(image: str, noise: ImageNoise) -> pd.DataFrame:
    """Rows of IMAGE_NOISE of an image."""
    meshes = {
        "rms": noise.level.rms,
        "background": noise.level.background,
        "correlation": noise.correlation.values,  # noqa: PD011 - no pandas
    }
    parts = []
    for name, mesh in meshes.items():
        row, column = np.indices(mesh.shape)
        parts.append(pd.DataFrame({"mesh": name, "row": row.ravel(), "column": column.ravel(), "value": mesh.ravel()}))
    return pd.concat(parts, ignore_index=True).assign(image=image)[IMAGE_NOISE.names]


def noise_of_table(rows: pd.DataFrame, beam: PixelBeam, shape: tuple[int, int]) -> ImageNoise | None:
    """The inverse of `noise_table`.

    Parameters
    ----------
    rows : DataFrame
        Rows of IMAGE_NOISE of one image.
    beam : PixelBeam
        Of the image.
    shape : (int, int)
        Height and width of the image [pixel].

    Returns
    -------
    ImageNoise or None
        None if there are no rows.
    """
    if rows.empty:
        return None
    level = NoiseMap(min(box_of(beam), *shape), _mesh(rows, "rms"), _mesh(rows, "background"))
    return ImageNoise(beam, level, NoiseCorrelation(_mesh(rows, "correlation")))


def _mesh(rows: pd.DataFrame, name: str) -> Floats:
    chosen = rows[rows["mesh"] == name]
    row, column = chosen["row"].to_numpy(), chosen["column"].to_numpy()
    mesh = np.full((row.max() + 1, column.max() + 1), np.nan)
    mesh[row, column] = chosen["value"].to_numpy(float)
    return mesh
