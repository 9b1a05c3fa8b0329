"""A TCP proxy that injects faults: between a client and a server, by rule, told in the log."""

__version__ = "0.1.0"
