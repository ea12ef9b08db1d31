"""``python -m kdumpd``."""

from kdumpd.cli.main import main

main()
