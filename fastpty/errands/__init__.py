"""Processes that make system calls which a stranger could block for ever, such as the last close of a terminal."""
