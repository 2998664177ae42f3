"""Reference catalogs: reading any format, storage sorted by HEALPix, cone searches, fetching.

Belongs here: what a catalog says, in our columns and units. Does not belong here: what matches it (`crossmatch`), and
the presets of surveys, which are configuration (`config.presets`).
"""
