"""The way into the jail: its steps in order, namespaces, privileges, and the process outside a pid namespace."""
