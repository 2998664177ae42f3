"""What is thought of an image, in words; apart from how it is found, so that the command line knows them at once."""

from enum import StrEnum


class Verdict(StrEnum):
    """What is thought of an image."""

    GOOD = "good"
    UNCORRECTED = "not corrected"
    REFUSED = "refused"
