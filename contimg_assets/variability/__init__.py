"""Statistics of light curves, significant pairs, new sources: plain functions on arrays.

Belongs here: what the corrected measurements of a source say, all epochs together. Does not belong here: which
measurements are of one source (`association`), and where they are stored.
"""
