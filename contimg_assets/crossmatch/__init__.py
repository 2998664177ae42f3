"""Counterparts in reference catalogs: candidate pairs, their probabilities, what people decided about them.

Belongs here: matching of measurements and sources to catalogs. Does not belong here: reading catalogs (`catalogs`),
pairs of any two tables of positions (`sky.pairs`), and corrections that follow from matches (`calibration`).
"""

# Part of the code version of everything that matches: raise it when results change.
VERSION = "5"
