"""Tables in files, of whatever format: what is delivered and what is referred to are read by the same code.

Belongs here: opening files safely, finding the table among several, its columns, units, frame, and which cells are
numbers, missing or neither. Does not belong here: what a column means (`ingest.readers`, `catalogs.formats`).
"""
