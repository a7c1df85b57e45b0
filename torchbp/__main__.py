"""`python -m torchbp` is the command `torchbp`."""

import sys

from torchbp.cli import main

if __name__ == "__main__":
    sys.exit(main())
