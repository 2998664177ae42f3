"""Directions on the sphere: separations, pairs, cells, covered areas, and robust statistics of offsets.

Belongs here: what can be said of positions and offsets alone, on plain arrays (`pairs` also on tables). Does not belong
here: anything that knows what a measurement, an image or a catalog is.
"""
