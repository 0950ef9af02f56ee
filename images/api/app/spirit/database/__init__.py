"""PostgreSQL: connections, tables, the session that a route works in, the state of the schema."""
