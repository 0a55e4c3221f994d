"""The supervisor and its workers: starting, replacing, reloading, and the statistics."""
