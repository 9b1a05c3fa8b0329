"""The version of all this."""

__version__ = "0.1.0"
