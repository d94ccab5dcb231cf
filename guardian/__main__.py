"""``python -m guardian``."""

from guardian.cli.main import main

main()
