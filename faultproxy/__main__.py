"""``python -m faultproxy``."""

from faultproxy.cli import main

main()
