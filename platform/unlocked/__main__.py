"""`python -m unlocked` is the command `unlocked`."""

import os
import sys

if sys.path[0] in ("", os.getcwd()) and not os.path.isdir(os.path.join(sys.path[0], "unlocked")):
    del sys.path[0]  # where a user's random.py would be found before Python's

from unlocked.cli.main import main

sys.exit(main())
