"""Download one file over HTTP, going on where a broken connection stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from mammoctl import console
from mammoctl.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

_TIMEOUT = 30.0


def download(
    url: str,
    path: Path,
    *,
    size: int | None,
    progress: bool = True,
    attempts: int = 3,
    pause: float = 1.0,
) -> None:
    """Fetch ``url`` into ``path``; a part that is there already is completed.

    Args:
        url: what to fetch.
        path: the file; after an error it holds what came.
        size: bytes that the file must have in the end; None where they are not known.
        progress: show a bar on a terminal.
        attempts: how often to connect.
        pause: seconds before the second attempt, doubled for each further one.

    Raises:
        BundleError: the server refuses or cannot be reached, or the file has another size.
    """
    import httpx

    problem = ""
    with (
        console.progress(transfer=True) as bars,
        httpx.Client(follow_redirects=True, timeout=_TIMEOUT) as client,
    ):
        bar = bars.add_task(path.name, total=size, visible=progress)
        for attempt in range(attempts):
            if attempt:
                time.sleep(pause * 2 ** (attempt - 1))
            try:
                _get(client, url, path, lambda done: bars.update(bar, completed=done))
            except httpx.HTTPStatusError as exc:
                code = exc.response.status_code
                problem = f"{url}: the server answers {code} {exc.response.reason_phrase}"
                if code == 416:  # the part here is no part of the file there
                    path.unlink(missing_ok=True)
                elif code < 500 and code != 429:
                    break
            except (httpx.HTTPError, httpx.InvalidURL) as exc:
                problem = f"{url}: {exc or type(exc).__name__}"
            else:
                actual = path.stat().st_size
                if size is None or actual == size:
                    return
                path.unlink()
                problem = f"{url}: {actual} bytes instead of {size}"
    raise BundleError(
        f"cannot download {problem}",
        hint="check the network and HTTPS_PROXY, then run the same command again",
    )


def _get(client: httpx.Client, url: str, path: Path, report: Callable[[int], None]) -> None:
    have = path.stat().st_size if path.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        resumed = response.status_code == 206
        done = have if resumed else 0
        with path.open("ab" if resumed else "wb") as stream:
            for chunk in response.iter_raw():
                stream.write(chunk)
                done += len(chunk)
                report(done)
