"""`python -m safegrpo`, the same as `safegrpo`."""

import sys

from safegrpo.cli import main

sys.exit(main())
