"""Run the command line with ``python -m mammoctl``."""

from mammoctl.cli import main

if __name__ == "__main__":
    main()
