"""From Spark's long error texts to one line that says what to do."""

from __future__ import annotations

import re

KNOWN = (
    (
        r"FAILED_READ_FILE",
        "a file of the data set cannot be read: push the data set again",
    ),
    (
        r"No module named '(\w+)'",
        "the Python of the executors lacks {0}: they need the same "
        "environment as the driver (PYSPARK_PYTHON)",
    ),
    (
        r"the weights that reached this node",
        "the weights that reached a node are not those that "
        "were sent: look at its disk, and submit again",
    ),
    (
        r"(?:Python worker exited unexpectedly|crashed unexpectedly)",
        "Python workers were killed "
        "again and again, most likely for memory: use a smaller --batch-size or give nodes more",
    ),
    (
        r"ExecutorLostFailure|All masters are unresponsive|Lost all executors",
        "executors were lost "
        "again and again: look at the workers' logs, and submit again; finished features are kept",
    ),
    (
        r"(?:Java heap space|OutOfMemoryError)",
        "out of JVM memory: raise spark.executor.memory or spark.driver.memory",
    ),
    (
        r"(?:AccessControlException|Permission denied)",
        "no permission to read or write one of the addresses",
    ),
    (
        r"(?:ConnectException|Connection refused|UnknownHostException)",
        "the storage or the Spark master does not answer: check that its services run",
    ),
    (
        r"(?:No space left on device|DiskErrorException|could only be written to 0)",
        "a disk is full or no DataNode takes blocks",
    ),
)


def explain(error: BaseException) -> str:
    """Return one line about an error that nothing else has dealt with."""
    text = str(error)
    raised = re.search(r"mammotrain\.errors\.\w+: (.+)", text)  # by a task, on an executor
    if raised:
        return raised.group(1).strip()
    for pattern, message in KNOWN:
        match = re.search(pattern, text)
        if match:
            return message.format(*match.groups())
    return f"failed unexpectedly ({type(error).__name__}): the log has the details"
