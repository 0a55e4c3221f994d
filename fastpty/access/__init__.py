"""Decides who may connect: rules, clients' identities, accounts, limits, and the log of refusals."""
