"""Directions on the sphere: separations, pairs, cells, covered areas, and robust statistics of offsets."""
