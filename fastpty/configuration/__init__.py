"""From options and files to a checked, typed Config: the table of options, parsing of values, reports and reloads.

The syntax of files belongs to `language`. What an option does belongs to the package that does it: parsing addresses
belongs to `net`, parsing hooks belongs to `hooks`, and replacing the workers at a reload belongs to `supervision`.
"""
