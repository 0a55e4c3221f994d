"""System calls and kernel interfaces that other packages share. Nothing here knows what a router or a session is."""
