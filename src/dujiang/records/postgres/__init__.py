"""Records in PostgreSQL: one partition of each table per UTC day."""
