"""The errors a user can cause and cure. Each message is one sentence: what, where (file, row, column), and the cure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ContimgError(Exception):
    """Base of all errors that this package raises on purpose, for what a user can cause and cure.

    Its kinds are in `contimg_assets.errors`: ComputeError, ConfigError, InputError, SchemaError, QualityError,
    StoreError.

    Examples
    --------
    >>> import contimg_assets as ca
    >>> try:
    ...     ca.cross_match_sources([10.0, 16.0], [10.0, 16.0], radius=5.0)
    ... except ca.ContimgError as error:
    ...     print(error)
    table detected is a list; give a pandas, astropy or Arrow table (DataFrame, Table, QTable), or a SkyCoord
    """


class ConfigError(ContimgError):
    """The configuration file is wrong; the message names the key, the value and what is allowed."""


class InputError(ContimgError):
    """A delivered file is unusable; the message names file, line or column, and the cure."""


class SchemaError(ContimgError):
    """A table is not what its schema says; the message names table, column and row."""


class QualityError(ContimgError):
    """An epoch failed a blocking quality check and must not reach the products."""


class StoreError(ContimgError):
    """The Parquet store or the products database does not hold what was asked for."""


class ComputeError(ContimgError):
    """The workers that the configuration names cannot do the work; the message says which, why, and the cure."""


def meant(word: str, known: Iterable[str]) -> str:
    """A hint for a message at the known word that somebody has misspelled; empty where none is alike.

    Parameters
    ----------
    word : as it was written
    known : words that would have been understood

    Returns
    -------
    str
        To be put right behind the word.

    Examples
    --------
    >>> meant("selavyy", ["selavy", "aegean"])
    " (is 'selavy' meant?)"
    >>> meant("SELAVY", ["selavy", "aegean"])
    " (is 'selavy' meant?)"
    """
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, 1)
    return f" (is {by_lower[near[0]]!r} meant?)" if near else ""
