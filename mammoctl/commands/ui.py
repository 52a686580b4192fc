"""``mammoctl ui``: the cluster's pages in the browser of this machine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands.browser import has_browser, wait
from mammoctl.commands.options import Inventory

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.ssh import Nodes
    from mammoctl.ui import Page


_WAIT_S = 8.0
"""Seconds for a first look at all pages."""


def ui(
    *,
    inventory: Inventory = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the browser.")
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the addresses as JSON on standard output.")
    ] = False,
) -> None:
    """Open the pages of Spark, HDFS and running applications, until Ctrl-C.

    The cluster's ports answer nobody outside: everything goes through SSH, to addresses of this
    machine alone. Links between the pages work; pages of applications that start later come with
    the links to them.

    Examples:
        mammoctl ui

        mammoctl ui --no-browser
    """
    from mammoctl import cluster as clusters
    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl.ssh import Nodes
    from mammoctl.status.gather import at_once
    from mammoctl.ui import Local, state

    with Nodes(inventories.load(inventory)) as nodes:
        record = clusters.read(nodes)
        found = _found(nodes, record)
        with Local(nodes, record) as local:
            urls = [local.url(page.node, page.port) for page in found]
            states = at_once({url: partial(state, url) for url in urls}, _WAIT_S)
            shown = [
                (page, url, "ok" if states[url] == "ok" else "no answer")
                for page, url in zip(found, urls, strict=True)
                if states[url] != "none"
            ]
            with suppress(KeyboardInterrupt):  # the ordinary end
                if as_json:
                    console.result_json_line(
                        {
                            "schema": 1,
                            "cluster": record.cluster,
                            "pages": [
                                {**asdict(page), "url": url, "ok": told == "ok"}
                                for page, url, told in shown
                            ],
                        }
                    )
                else:
                    rows = [(page.title, page.node, url, told) for page, url, told in shown]
                    console.table("", ("page", "node", "address", ""), rows)
                if browser and not as_json and has_browser():
                    import webbrowser

                    webbrowser.open(urls[0])
                console.note("open until Ctrl-C")
                wait()
            console.note("closed")


def _found(nodes: Nodes, record: ClusterFile) -> list[Page]:
    """Return the pages there are now; a Spark master that is down hides the others' no more."""
    from mammoctl import console
    from mammoctl.errors import MammoctlError
    from mammoctl.status import master
    from mammoctl.ui import applications, pages

    found = pages(nodes, record)
    try:
        running = len(master.spark(nodes, record).activeapps)
    except MammoctlError as exc:
        console.warn(exc.message)
        return found
    return [found[0], *applications(nodes, record, running), *found[1:]]


def register(app: typer.Typer) -> None:
    """Add ``ui`` to the command line."""
    app.command()(ui)
