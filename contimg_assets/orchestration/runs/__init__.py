"""Runs of Dagster: in this process, launched as processes of their own, and those that died without a word."""
