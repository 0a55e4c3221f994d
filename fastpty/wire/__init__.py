"""The protocols as bytes, for both ends: uwsgi packets, and what an HTTP client says first."""
