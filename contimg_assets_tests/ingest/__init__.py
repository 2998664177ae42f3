"""Tests of the ingest of catalogs."""
