"""Nothing is shared by all tests yet but how pytest is set up, which stands in pyproject.toml."""
