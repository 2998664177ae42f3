"""Tests of the products database."""
