"""Fluxes at given positions of an image, whether the finder saw anything there or not."""
