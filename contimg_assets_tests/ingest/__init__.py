"""Tests of the ingest of catalogues."""
