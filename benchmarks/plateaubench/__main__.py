"""`python benchmarks/plateaubench`, or `python -m benchmarks.plateaubench` from the root of the repo."""

import sys
from pathlib import Path

if not __package__:  # run as a folder: Python has put that folder on the path, and we need the repo
    sys.path[0] = str(Path(__file__).parents[2])

from benchmarks.plateaubench.commands import main

if __name__ == "__main__":
    main()
