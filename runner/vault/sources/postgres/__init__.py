"""PostgreSQL: a role of the step's own."""
