"""Copies files over a stream of records: `sender` turns files into records, `receiver` turns records into files.

The same code runs in the client and in a child of the router inside the jail. Each side treats the other as hostile.
Only cheap modules are imported, and all of them at the start: the jail may have no Python.

The connection that carries the stream belongs to `client` and `sessions`.
"""
