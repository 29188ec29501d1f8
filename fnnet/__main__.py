"""`python -m fnnet`."""

import sys

from fnnet.cli.command import main

sys.exit(main())
