"""Files to detections to measurements: readers, checks of rows, errors and weights, duplicates within an epoch.

Belongs here: everything that opens a delivered file, and what one epoch says of itself. Does not belong here: other
epochs (`association`) and reference catalogs (`catalogs`, `crossmatch`).
"""
