"""PostgreSQL knowledge as data: parsers, SQL text and file contents. Nothing here executes anything."""
