"""Names of sources from their positions."""

from __future__ import annotations

import numpy as np


def iau_names(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """Names such as J123456.78+123456.7, coordinates truncated as the IAU asks, never rounded; shape (n,), str."""
    # A part in 10^4 of the last digit keeps 12.3 stored as 12.299999 where it belongs.
    ra = np.floor(np.asarray(ra_deg, float) / 15.0 * 360_000 + 1e-4).astype(np.int64) % (24 * 360_000)
    dec = np.floor(np.abs(np.asarray(dec_deg, float)) * 36_000 + 1e-4).astype(np.int64)
    text = np.empty((len(ra), 19), dtype=np.uint8)
    text[:, [0, 7, 17]] = np.frombuffer(b"J..", dtype=np.uint8)
    text[:, 10] = np.where(np.asarray(dec_deg) < 0, ord("-"), ord("+"))
    of_ra = {1: ra // 360_000, 3: ra // 6_000 % 60, 5: ra // 100 % 60, 8: ra % 100}
    of_dec = {11: dec // 36_000, 13: dec // 600 % 60, 15: dec // 10 % 60}
    for place, number in (of_ra | of_dec).items():
        text[:, place], text[:, place + 1] = ord("0") + number // 10, ord("0") + number % 10
    text[:, 18] = ord("0") + dec % 10
    return text.view("S19").ravel().astype("U19")
