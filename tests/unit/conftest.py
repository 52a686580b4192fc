"""For all unit tests: logs of commands never go to the user's folder."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_logs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAMMOCTL_LOG_DIR", str(tmp_path_factory.mktemp("log")))
        yield
