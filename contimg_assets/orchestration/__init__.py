"""How Dagster runs, watches and shows the pipeline: the only part of the package that imports dagster."""
