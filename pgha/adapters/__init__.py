"""The doors to the outside: store, SQL, processes, files. Thin, bounded in time, without policy."""
