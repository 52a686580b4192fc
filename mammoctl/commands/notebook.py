"""``mammoctl notebook``: JupyterLab on the master, in the browser of this machine."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import Annotated

import typer

from mammoctl.commands.browser import has_browser, opened, wait
from mammoctl.commands.options import Inventory, Json, again


def notebook(
    *,
    inventory: Inventory = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the browser.")
    ] = True,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Leave the server and its kernels running after Ctrl-C."),
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Only end the server that runs.")] = False,
    as_json: Json = False,
) -> None:
    """Open JupyterLab on the master, with Spark at hand, until Ctrl-C.

    One that runs already is opened, and left running: who started it ends it, or --stop.

    The server listens on the master's loopback alone and asks for a token; everything goes
    through SSH. In a notebook, SparkSession.builder.getOrCreate() is a session of the cluster:
    it takes its cores until its kernel ends. Notebooks stay on the master, in
    /var/lib/mammoctl/notebooks.

    JupyterLab must be among the cluster's packages (python_extra_packages: ["jupyterlab"]). A
    connection that breaks leaves the server running: the same command finds it again.

    Examples:
        mammoctl notebook

        mammoctl notebook --keep

        mammoctl notebook --stop
    """
    from mammoctl import cluster as clusters
    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl import notebook as server
    from mammoctl.errors import UsageError
    from mammoctl.ssh import Nodes

    if stop and keep:
        raise UsageError("--keep and --stop exclude each other")
    cluster = inventories.load(inventory)
    with Nodes(cluster) as nodes:
        if stop:
            stopped = server.stop(nodes)
            if as_json:
                console.result_json({"schema": 1, "cluster": cluster.name, "stopped": stopped})
            else:
                console.note("stopped" if stopped else "none was running")
            return
        deployment = clusters.read(nodes)
        console.step(f"Starting JupyterLab on {cluster.master.name}")
        there = server.start(nodes, deployment)
        with nodes.tunnel(cluster.master, "127.0.0.1", there.port) as (address, port):
            url = f"http://{address}:{port}/lab?token={there.token}"
            with suppress(KeyboardInterrupt):  # the ordinary end
                if as_json:
                    console.result_json_line({"schema": 1, "cluster": cluster.name, "url": url})
                else:
                    console.result(url)
                console.note("open until Ctrl-C; whoever has the address can run programs there")
                with opened(url) if browser and not as_json and has_browser() else nullcontext():
                    wait()
        if keep or not there.own:
            since = "it ran before" if not there.own else "kept"
            command = f"mammoctl notebook {again(inventory)}".rstrip()
            console.note(f"still running ({since}): {command} opens it again, --stop ends it")
        else:
            server.stop(nodes)
            console.note("closed; the notebooks stay on the master")


def register(app: typer.Typer) -> None:
    """Add ``notebook`` to the command line."""
    app.command()(notebook)
