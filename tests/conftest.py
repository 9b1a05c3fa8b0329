"""What all tests share beside how pytest is set up, which stands in pyproject.toml."""

from hypothesis import settings

# How long an example takes says nothing of the code: the machine has other work.
settings.register_profile("faultproxy", deadline=None)
settings.load_profile("faultproxy")
