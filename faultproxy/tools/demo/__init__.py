"""The demo: every fault once, with nothing to set up; or again and again, with the page to look at."""
