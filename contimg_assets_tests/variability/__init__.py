"""Tests of light-curve statistics."""
