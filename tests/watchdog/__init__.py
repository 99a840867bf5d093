"""The guard, the link to it and the watchdog's entry, tried with real processes and a real PostgreSQL."""
