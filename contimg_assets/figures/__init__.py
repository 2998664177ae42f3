"""Pictures of tables, with matplotlib: what assets, the command line and notebooks show."""
