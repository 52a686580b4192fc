"""Entry point for `spark-submit app/train.py ...` and `python app/train.py ...`."""

import sys

from mammotrain.cli import main

if __name__ == "__main__":
    sys.exit(main())
