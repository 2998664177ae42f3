"""Alembic migrations of the products database, inside the package so that an installed copy can upgrade.

A change of the models or of a schema that they take columns from needs a migration, or the tests fail:
`contimg_assets.database.schema.write_migration("what changes")` writes it; look it over, run ruff over it, commit it.
"""
