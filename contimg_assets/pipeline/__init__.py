"""What is made from what, and whether it is still true: files, records and versions. No Dagster, no formula, no SQL."""
