"""uWSGI's configuration language: finding and parsing files, variables, blocks and expansion.

Here a setting is text; its meaning belongs to the package above.
"""
