"""`python -m fnnet`."""

import sys

from fnnet.command import main

sys.exit(main())
