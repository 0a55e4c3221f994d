"""uWSGI's configuration language: reading files, formats, variables, blocks and expansion.

It knows settings as text only; what they mean is for the package above.
"""
