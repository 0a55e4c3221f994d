"""fastpty: a small pseudo-terminal server, and the client that attaches to it."""

__version__ = "0.1.0"
