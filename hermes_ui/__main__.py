"""`python -m hermes_ui`."""

import sys

from hermes_ui.cli import main

if __name__ == "__main__":
    sys.exit(main())
