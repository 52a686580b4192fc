"""Entry point for `spark-submit app/predict.py ...` and `python app/predict.py ...`."""

import sys

from mammotrain.predict_cli import main

if __name__ == "__main__":
    sys.exit(main())
