"""``mammoctl init``: from a list of machines to an inventory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands.options import Json

if TYPE_CHECKING:
    from mammoctl.init.draft import Draft, Login
    from mammoctl.init.keys import HostKey
    from mammoctl.init.run import Plan


def init(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name of the cluster and its folder.")
    ] = None,
    *,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host", metavar="[NAME=][USER@]HOST[:PORT]", help="A machine; may be repeated."
        ),
    ] = None,
    from_ssh_config: Annotated[
        list[str] | None,
        typer.Option(
            "--from-ssh-config", metavar="PATTERN",
            help="Machines of ~/.ssh/config, such as 'ward*'; may be repeated.",
        ),
    ] = None,
    from_ansible: Annotated[
        str | None,
        typer.Option("--from-ansible", metavar="PATH", help="Machines of an Ansible inventory."),
    ] = None,
    group: Annotated[
        str, typer.Option("--group", help="Which of its groups.")
    ] = "all",
    user: Annotated[str | None, typer.Option("--user", help="Login on the machines.")] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="Private key for the login.")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="SSH's port.")] = 22,
    jump: Annotated[
        str, typer.Option("--jump", metavar="[USER@]HOST[:PORT]", help="Host to go through.")
    ] = "",
    master: Annotated[
        str | None, typer.Option("--master", metavar="NAME", help="By default a sensible one.")
    ] = None,
    accept_new: Annotated[
        bool,
        typer.Option(
            "--accept-new-host-keys", help="Pin what the machines show, without a question."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without a question.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Describe a new cluster: reach its machines, pin their host keys, write the inventory.

    Asks for what is not given by options. Reads cores, memory, disks and GPUs of each machine,
    chooses a master and the workers, and writes inventory/NAME with a comment for everything in
    it. Nothing is changed on the machines.

    Examples:
        mammoctl init

        mammoctl init ward --host ward1=10.0.0.1 --host ward2=10.0.0.2 --user admin

        mammoctl init ward --from-ssh-config 'ward*' --jump gate.example.org
    """
    from mammoctl import console, inventory_text
    from mammoctl import inventory as inventories
    from mammoctl.init import draft, run, write
    from mammoctl.init.draft import Login

    named = draft.cluster_name(name or console.ask("Name of the cluster", "ward", option="NAME"))
    folder = Path("inventory") / named
    inventory_text.require_place(folder.absolute())
    write.refuse_existing(folder)
    login = Login(user, key.expanduser().absolute() if key else None, port, jump)
    if jump:
        draft.place(jump)
    drafts = _drafts(host, from_ssh_config, from_ansible, group, login)
    console.step(f"Reaching {', '.join(one.name for one in drafts)}")
    plan = run.plan(named, drafts, master, lambda keys: confirm_keys(keys, accept_new, as_json))
    if not as_json:
        _show(plan)
        if console.can_ask():
            console.confirm(f"Write {folder}?", yes=yes)
    write.write(folder, plan.files())
    inventories.load(str(folder.absolute()))
    if as_json:
        console.result_json(plan.as_json(folder.absolute()))
        return
    console.result(f"{named}: {folder} is written")
    console.note(f"next: look at it, then mammoctl check -i {named}")


def _drafts(
    host: list[str] | None,
    patterns: list[str] | None,
    ansible: str | None,
    group: str,
    login: Login,
) -> list[Draft]:
    from mammoctl import console
    from mammoctl.errors import UsageError
    from mammoctl.init import draft

    given = [bool(host), bool(patterns), bool(ansible)]
    if sum(given) > 1:
        raise UsageError(
            "hosts come from one place", hint="give --host, --from-ssh-config or --from-ansible"
        )
    if patterns:
        return draft.from_ssh_config(patterns, login)
    if ansible:
        return draft.from_ansible(ansible, group, login)
    if not host:
        host = console.ask("Machines ([NAME=][USER@]HOST[:PORT] ...)", option="--host").split()
        login = _ask_login(login)
    return draft.from_words(host, login)


def _ask_login(login: Login) -> Login:
    """Ask for what the options left open."""
    from dataclasses import replace

    from mammoctl import console
    from mammoctl.init.draft import place

    if login.user is None:
        import getpass

        login = replace(login, user=console.ask("User there", getpass.getuser(), option="--user"))
    if login.key is None:
        said = console.ask("Private key (empty: SSH's own choice)", option="--key")
        login = replace(login, key=Path(said).expanduser().absolute() if said else None)
    if not login.jump:
        login = replace(login, jump=console.ask("Jump host (empty: none)", option="--jump"))
        if login.jump:
            place(login.jump)
    return login


def confirm_keys(keys: Sequence[HostKey], accept_new: bool, as_json: bool) -> None:
    """Show host keys that are seen for the first time, and ask whether they are right.

    Raises:
        UsageError: they are not, or there is nobody to ask.
    """
    from mammoctl import console
    from mammoctl.errors import UsageError

    lines = [f"{key.name} ({key.where}): {key.kind} {key.fingerprint}" for key in keys]
    console.note("host keys that are seen for the first time:")
    for line in lines:
        console.note(f"  {line}")
    if accept_new:
        return
    if as_json or not console.can_ask():
        raise UsageError(
            "the host keys have not been confirmed",
            details=lines,
            hint="compare them with what the consoles show, then give --accept-new-host-keys",
        )
    console.note(
        "compare them at the machines' consoles: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
    )
    console.confirm("Are they right?", yes=False)


def _show(plan: Plan) -> None:
    from mammoctl import console
    from mammoctl.columns import Column, grid

    rows = []
    for draft in plan.drafts:
        machine, duty = plan.machines[draft.name], plan.duties[draft.name]
        disk = max(machine.disks, key=lambda one: one.free_mb, default=None)
        rows.append(
            (
                draft.name,
                draft.address,
                machine.release,
                str(machine.cores),
                f"{machine.memory_mb / 1024:.1f}",
                f"{disk.free_mb / 1024:.0f} on {disk.path}" if disk else "",
                str(machine.gpus or "-"),
                "+".join(["master"] * duty.master + ["worker"] * duty.worker) or "nothing",
                f"{duty.heap_mb} MiB" if duty.worker else "-",
            )
        )
    titles = ("host", "address", "system", "cores", "GiB", "GiB free", "GPUs", "duty", "heap")
    spare = (0, 2, 1, 1, 0, 1, 1, 0, 3)
    table = [Column(*part) for part in zip(titles, zip(*rows, strict=True), spare, strict=True)]
    console.show(grid(table, console.width()))


def register(app: typer.Typer) -> None:
    """Add ``init`` to the command line."""
    app.command()(init)
