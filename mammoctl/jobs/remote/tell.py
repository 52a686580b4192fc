"""The part of a job that tells somebody, from the master, that it has ended.

Shipped beside the agent and run by the system's Python as it is (3.9 or later, nothing installed).
What is told holds no data of patients: the job's id, its end, and when.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TARGETS = "notify.json"
TIMEOUT_S = 6.0
SENDMAIL = "/usr/sbin/sendmail"

Document = Mapping[str, Any]


def message(state: Document, cluster: str) -> dict[str, Any]:
    """Return what is told: the document of schema 1, with one line for people in ``text``."""
    begin, end = state.get("started_at"), state.get("finished_at")
    took = f" after {end - begin:.0f} s" if begin and end else ""
    why = f": {state['reason']}" if state.get("reason") else ""
    return {
        "schema": 1,
        "event": "job_ended",
        "cluster": cluster,
        "job": state["id"],
        "state": state["state"],
        "exit_code": state.get("exit_code"),
        "reason": state.get("reason", ""),
        "finished_at": end,
        "text": f"{state['id']} on {cluster}: {state['state']}{took}{why}",
    }


def tell(folder: Path, state: Document) -> list[dict[str, Any]]:
    """Tell everybody whom a job's folder names, once; return what came of each."""
    try:
        wanted = json.loads((folder / TARGETS).read_text())
        # whoever makes this file tells; the others have seen the same end
        os.close(os.open(folder / f"told-{state.get('attempt', 1)}", os.O_CREAT | os.O_EXCL))
    except (OSError, ValueError):
        return []
    document = message(state, wanted["cluster"])
    return [_one(target, document) for target in wanted["targets"]]


def _one(target: str, document: Document) -> dict[str, Any]:
    outcome = {"target": shown(target), "ok": True, "error": ""}
    try:
        if target.startswith("mailto:"):
            _mail(target[len("mailto:") :], document)
        else:
            _post(target, document)
    except (OSError, ValueError, subprocess.SubprocessError) as exc:
        # an address may hold a token, and some errors quote it
        error = f"HTTP {exc.code}" if isinstance(exc, urllib.error.HTTPError) else _plain(exc)
        return {**outcome, "ok": False, "error": error}
    return outcome


def _plain(exc: Exception) -> str:
    if isinstance(exc, urllib.error.URLError):
        return str(exc.reason)
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return type(exc).__name__


def _post(address: str, document: Document) -> None:
    request = urllib.request.Request(  # noqa: S310  the scheme was checked at submission
        address,
        data=json.dumps(document).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "mammoctl"},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310  as above
        pass


def _mail(address: str, document: Document) -> None:
    lines = [f"{key}: {value}" for key, value in document.items() if key not in ("text", "schema")]
    subject = " ".join(document["text"].split())
    text = f"To: {address}\nSubject: {subject}\n\n" + "\n".join(lines) + "\n"
    subprocess.run(
        [SENDMAIL, "-i", "-t"],
        input=text.encode(),
        check=True,
        timeout=TIMEOUT_S,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def shown(target: str) -> str:
    """Return an address without what may be secret in it: login, path and query of an URL."""
    parts = urllib.parse.urlsplit(target)
    if parts.scheme in ("http", "https"):
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}/..."
    return target
