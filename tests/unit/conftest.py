"""For all unit tests: no command's logs in the user's folder, nor its choices in the next test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mammoctl import console, pasted, runlog


@pytest.fixture(autouse=True, scope="session")
def _own_logs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAMMOCTL_LOG_DIR", str(tmp_path_factory.mktemp("log")))
        yield


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    """What is said, how much, and the cluster in hints are a command's own, not the next test's."""
    yield
    console.set_volume(quiet=False, verbose=False)
    pasted.remember(None)
    runlog.begin("")
