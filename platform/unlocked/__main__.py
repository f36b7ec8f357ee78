"""`python -m unlocked` is the command `unlocked`."""

import sys

from unlocked.cli.main import main

sys.exit(main())
