"""The protocols as bytes, for both ends: building and parsing uwsgi frames, and recognising HTTP and TLS.

Reading, writing and buffering belong to `relay`. TLS itself belongs to `net`.
"""
