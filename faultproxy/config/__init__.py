"""The configuration file: YAML text to a Config, or every error in it at once."""
