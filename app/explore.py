"""Entry point for `spark-submit app/explore.py ...` and `python app/explore.py ...`."""

import sys

from mammotrain.explore_cli import main

if __name__ == "__main__":
    sys.exit(main())
