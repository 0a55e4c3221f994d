"""Who may connect: clients' identities, accounts, rules, limits, and the log of refused clients.

Accounts are only looked up here: becoming one belongs to `spawn`, and its login shell belongs to `sessions`. Giving up
the router's own rights belongs to `jail`.
"""
