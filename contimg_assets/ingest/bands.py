"""The band of an image: a number that follows from its frequency and the configuration alone.

Bands are not groups found among the frequencies of a survey: such groups change with every image that falls into a
gap, so that a night would change results of others, and depend on what has arrived so far. Here one frequency has the
same band in every survey, whatever was delivered before. The price: two frequencies that differ by less than
`BAND_RATIO` can lie on both sides of an edge. `divided` finds these, and a configured range takes both.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from contimg_assets.config import Bands
from contimg_assets.errors import InputError
from contimg_assets.schemas.tables import rows_among
from contimg_assets.sky.arrays import Integers

BAND_RATIO = 1.15
"""Frequencies that differ by this factor or more are never in one band, unless it is configured."""

# The middle of one band, chosen so that edges lie between the frequencies that surveys use: 1263 to 1453 MHz has those
# about the hydrogen line, 831 to 955 MHz the low and 1453 to 1671 MHz the high band of ASKAP.
_MIDDLE_MHZ = 1355.0
_SEPARATOR = "@"


def bands_mhz(freq_mhz: npt.ArrayLike, bands: Bands | None = None) -> Integers:
    """The band of each frequency, as its middle in whole MHz.

    Parameters
    ----------
    freq_mhz : array_like of float, shape (n,)
        Frequencies [MHz], positive.
    bands : contimg_assets.config.Bands, optional
        Configured ranges, which come first; none if not given.

    Returns
    -------
    ndarray of int64, shape (n,)
        Equal exactly for frequencies of one band [MHz].

    Raises
    ------
    InputError
        If a frequency is missing or not positive.

    Examples
    --------
    >>> from contimg_assets.config import Bands
    >>> bands_mhz([887.5, 943.5, 1367.5, 1405.0, 2150.0]).tolist()
    [891, 891, 1355, 1355, 2061]
    >>> bands_mhz([887.5, 943.5], Bands(ranges_mhz=[(800, 920)])).tolist()
    [860, 891]
    """
    freq = np.asarray(freq_mhz, dtype=float)
    unusable = ~((freq > 0) & np.isfinite(freq))
    if unusable.any():
        row = int(np.argmax(unusable))
        raise InputError(f"freq_mhz in row {row} is {freq[row]}: a band needs the frequency of each image in MHz")
    step = np.floor(np.log(freq / _MIDDLE_MHZ) / np.log(BAND_RATIO) + 0.5)
    middle = _MIDDLE_MHZ * BAND_RATIO**step
    for low, high in () if bands is None else bands.ranges_mhz:
        middle = np.where((freq >= low) & (freq <= high), (low + high) / 2, middle)
    return np.asarray(np.rint(middle), np.int64)


def band_names(band_mhz: npt.ArrayLike) -> npt.NDArray[np.object_]:
    """Names of bands.

    Parameters
    ----------
    band_mhz : array_like of int, shape (n,)
        Bands as `bands_mhz` gives them [MHz].

    Returns
    -------
    ndarray of str, shape (n,)
        Such as "1355MHz".

    Examples
    --------
    >>> band_names([1355, 891]).tolist()
    ['1355MHz', '891MHz']
    """
    values, place = np.unique(np.asarray(band_mhz, np.int64), return_inverse=True)
    names = np.array([f"{value}MHz" for value in values], dtype=object)
    return names[place] if len(values) else np.empty(0, dtype=object)


def mhz_of_names(names: Iterable[str]) -> Integers:
    """The bands of some names, ascending, each once.

    Parameters
    ----------
    names : iterable of str
        As `band_names` gives them.

    Returns
    -------
    ndarray of int64
        Their middles [MHz].

    Examples
    --------
    >>> mhz_of_names(["1355MHz", "891MHz", "1355MHz"]).tolist()
    [891, 1355]
    """
    return np.array(sorted({mhz_of_name(name) for name in names}), dtype=np.int64)


def mhz_of_name(name: str) -> int:
    """The middle of the band of one name, as `band_names` gives it [MHz]."""
    return int(name.removesuffix("MHz"))


def by_band(
    associations: pd.DataFrame, measurements: pd.DataFrame, images: pd.DataFrame, bands: Bands | None = None
) -> pd.DataFrame:
    """Associations whose source_id names the band too: what is called the same may be compared in flux.

    Parameters
    ----------
    associations : pandas.DataFrame
        ``source_id``, ``measurement_id`` and others, which stay; rows of measurements that are not given are left out.
    measurements : pandas.DataFrame
        ``measurement_id``, ``image``.
    images : pandas.DataFrame
        ``image``, ``freq_mhz``.
    bands : contimg_assets.config.Bands, optional
        Configured ranges.

    Returns
    -------
    pandas.DataFrame
        ``source_id`` such as "0123456789abcdef@1355MHz", which `source_of` takes apart.

    Examples
    --------
    >>> import pandas as pd
    >>> own = pd.DataFrame({"source_id": ["s", "s"], "measurement_id": ["a", "b"]})
    >>> rows = pd.DataFrame({"measurement_id": ["a", "b"], "image": ["low", "high"]})
    >>> images = pd.DataFrame({"image": ["low", "high"], "freq_mhz": [888.0, 1367.0]})
    >>> by_band(own, rows, images)["source_id"].tolist()
    ['s@891MHz', 's@1355MHz']
    """
    row = rows_among(associations["measurement_id"], measurements["measurement_id"])
    known = associations[row >= 0]
    of_image = rows_among(measurements["image"], images["image"])[row[row >= 0]]
    name = pd.Series(_SEPARATOR + band_names(bands_mhz(images["freq_mhz"], bands)), dtype="str")
    band = name.take(of_image).set_axis(known.index)
    named: pd.DataFrame = known.assign(source_id=known["source_id"].astype("str") + band)
    return named


def source_of(names: Iterable[str]) -> list[str]:
    """The source of each name that `by_band` gives.

    Parameters
    ----------
    names : iterable of str
        Names.

    Returns
    -------
    list of str
        The ids without their bands, in the same order.
    """
    return [name.partition(_SEPARATOR)[0] for name in names]


def divided(freq_mhz: npt.ArrayLike, bands: Bands | None = None) -> list[tuple[float, float]]:
    """Neighboring frequencies that lie in two bands although they differ by less than `BAND_RATIO`.

    Parameters
    ----------
    freq_mhz : array_like of float, shape (n,)
        Frequencies of all images [MHz], in any order.
    bands : contimg_assets.config.Bands, optional
        Configured ranges; what they divide is meant to be divided.

    Returns
    -------
    list of (float, float)
        Lower and higher frequency of each such pair [MHz].

    Examples
    --------
    >>> divided([1450.0, 1405.0, 1456.0])
    [(1450.0, 1456.0)]
    """
    freq = np.unique(np.asarray(freq_mhz, dtype=float))
    band = bands_mhz(freq, bands)
    ranges = () if bands is None else bands.ranges_mhz
    configured = np.zeros(len(freq), bool)
    for low, high in ranges:
        configured |= (freq >= low) & (freq <= high)
    near = (freq[1:] < BAND_RATIO * freq[:-1]) & (band[1:] != band[:-1]) & ~(configured[1:] | configured[:-1])
    return [(float(freq[i]), float(freq[i + 1])) for i in np.flatnonzero(near)]
