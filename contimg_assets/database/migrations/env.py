"""How Alembic runs migrations here: on the connection that `contimg_assets.database.schema` hands over."""

from alembic import context

from contimg_assets.database.models import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,
    compare_type=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
