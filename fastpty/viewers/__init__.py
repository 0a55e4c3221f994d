"""The router's own viewers of a shared terminal: its log and the terminal that it was started on.

The shared terminal itself, and viewers that are clients, belong to `relay`. The terminal of `fastpty connect` belongs
to `client`.
"""
