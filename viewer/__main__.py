"""``python -m viewer`` is ``sadmil-viewer``."""

import sys

from viewer.app import main

sys.exit(main())
