"""Decides who may connect: rules, peers, accounts, limits, and the log of refusals. It starts nothing."""
