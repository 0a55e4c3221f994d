"""The C part of the relay (`.pxd` files that compile into `_relay`): sessions, channels, the loop; and its upcalls."""
