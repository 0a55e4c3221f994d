"""The router's own viewers of the shared terminal: its log and its own terminal."""
