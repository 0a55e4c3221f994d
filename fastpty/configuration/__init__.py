"""From options and files to a checked, typed Config: the table of options, parsing of values, reports and reloads.

The syntax of files belongs to `language`; what an option does belongs to the package that does it.
"""
