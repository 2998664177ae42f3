"""Fluxes in other Stokes parameters than I: at the sources of I, and where there is none.

Belongs here: what a detection in V, Q, U or L says of a source. Does not belong here: making sources from Stokes I
(`association`), and statistics of light curves (`variability`).
"""
