"""Names that never change: ids of measurements and sources, versions of content, keys of epochs."""
