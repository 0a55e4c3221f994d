"""Processes that do what could wait for a stranger without end, such as the last close of a terminal."""
