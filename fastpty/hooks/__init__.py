"""The hooks of a jail: their values are parsed, then run. The package `jail` decides when."""
