"""Statistics of light curves, significant pairs, new sources: plain functions on arrays."""
