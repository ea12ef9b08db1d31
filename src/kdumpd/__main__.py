"""``python -m kdumpd``."""

from kdumpd.cli import main

main()
