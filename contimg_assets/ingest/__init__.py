"""Files to detections to measurements: readers, checks of rows, errors and weights, duplicates within an epoch."""
