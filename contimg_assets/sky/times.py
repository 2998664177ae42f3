"""Dates as numbers: what modified Julian dates count from, and between which of them observations lie."""

from __future__ import annotations

MJD_OF_JD0 = 2_400_000.5
"""What a Julian date is more than the modified one."""
MJD_OF_1900, MJD_OF_2200 = 15_020.0, 124_593.0
"""Dates before and after these are no observations."""
