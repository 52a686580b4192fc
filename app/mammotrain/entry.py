"""From options to an exit code: the one place where errors become messages."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import traceback
from collections.abc import Callable

from mammotrain import tensorflow_environment
from mammotrain.errors import TrainError
from mammotrain.events import Progress, log

Run = Callable[[argparse.Namespace, Progress], None]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def run(
    work: Run,
    options: argparse.Namespace,
    *,
    interrupted: str = "interrupted: the features computed so far are kept",
) -> int:
    """Do the work of a command and return its exit code; `options.progress` is where to report.

    Args:
        work: the command.
        options: what it is given.
        interrupted: what to say when it is ended from outside.

    Returns:
        0 done, 1 failed, 2 unusable input, 130 interrupted.
    """
    tensorflow_environment.prepare()
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    log.setLevel(logging.INFO)
    # Py4J logs a traceback, as the root logger, for a call that an interrupt cuts short.
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: "while sending command" not in record.getMessage())
    progress = Progress(options.progress)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        work(options, progress)
    except TrainError as error:
        progress.message("error", str(error), exit_code=error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        progress.message("error", interrupted)
        return 130
    except Exception as error:
        from mammotrain.failures import explain

        traceback.print_exc()
        progress.message("error", explain(error), exit_code=1)
        return 1
    finally:
        progress.close()
    return 0
