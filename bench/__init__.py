"""Benchmarks: fastpty beside its peers and beside a bare pty. `python -m bench` builds, runs and reports."""
