"""``python -m wsseg.cli``."""

from wsseg.cli import main

main()
