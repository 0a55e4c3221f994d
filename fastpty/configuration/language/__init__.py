"""uWSGI's configuration language: finding and parsing files, variables, blocks and expansion.

Here a setting is text. Its meaning belongs to `configuration`.
"""
