"""Beams that are alike: what one of them shows as a single source, another does too."""

ALIKE_BEAMS = 1.5
"""Beams whose major axes differ by more than this factor are not alike."""
