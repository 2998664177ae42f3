"""Reference catalogues: presets of surveys, reading any format, storage sorted by HEALPix, cone searches, fetching."""
