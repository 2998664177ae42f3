"""Kept for the `dagster.yaml` of projects made before the modules moved; see `launcher`."""
