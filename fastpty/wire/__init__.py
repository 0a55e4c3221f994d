"""The protocols as bytes, for both ends: building and parsing uwsgi frames, and recognising HTTP and TLS."""
