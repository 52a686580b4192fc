"""Bring a lab up and down; every step can be repeated after an interruption."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mammoctl import console, files
from mammoctl.errors import LabError
from mammoctl.lab import cgroups, image, inventory, network, node, remote, rootfs, system
from mammoctl.lab import state as states
from mammoctl.lab.plan import Request, completed, differences, plan
from mammoctl.lab.state import LabState, NodeState

BOOT_SECONDS = 180
# A provisioned node with TensorFlow takes about this much.
_NODE_GIB = 3.0


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lab ``name`` for one command.

    Raises:
        LabError: another command is working on it.
    """
    busy = f"another mammoctl command is working on the lab {states.check_name(name)!r}"
    with states.lock(f"lab-{name}", wait=False, busy=busy):
        yield


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Announce a step and say how long it took."""
    console.step(what)
    start = time.monotonic()
    yield
    console.note(f"    {time.monotonic() - start:.1f} s")


def each(nodes: Sequence[NodeState], act: Callable[[NodeState], object]) -> None:
    """Run ``act`` on all nodes at once; every failure is reported.

    Raises:
        LabError: at least one node failed.
    """
    errors: list[LabError] = []

    def guarded(one: NodeState) -> None:
        try:
            act(one)
        except LabError as exc:
            errors.append(exc)

    with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
        try:
            list(pool.map(guarded, nodes))
        except KeyboardInterrupt:
            node.cancelled.set()
            raise
    if len(errors) == 1:
        raise errors[0]
    if errors:
        details = [
            line for exc in errors for line in (exc.message, *(f"  {d}" for d in exc.details))
        ]
        raise LabError(f"{len(errors)} nodes failed", details=details, hint=errors[0].hint)


def up(request: Request, inventory_dir: Path) -> LabState:
    """Bring the lab up, or the part of it that is not; returns when every node takes logins.

    Args:
        request: what the user asked for.
        inventory_dir: folder for the lab's inventory.

    Raises:
        LabError: something of the machine is in the way, or a node does not boot.
        UsageError: an option has a value that cannot be.
    """
    system.require_system()
    start = time.monotonic()
    with locked(request.name):
        inventory.require_own(inventory_dir)
        state = states.load(request.name)
        if state is not None and not state.complete:
            console.step("removing what an interrupted command left")
            request = completed(request, state)
            _remove(state)
            state = None
        if state is not None and (found := differences(request, state)):
            raise LabError(
                f"the lab {request.name!r} is there with other options",
                details=found,
                hint=f"`mammoctl lab down --name {request.name}` first, or another --name",
            )
        if state is None:
            state = _create(plan(request))
        boot(state)
        state.inventories = sorted({*state.inventories, str(inventory_dir.absolute())})
        state.complete = True
        state.save()
        inventory.write(state, inventory_dir)
    console.note(f"lab {state.name} is up in {time.monotonic() - start:.1f} s: {inventory_dir}")
    return state


def _create(state: LabState) -> LabState:
    network.require_free(state)
    for one in state.nodes:
        cgroups.group(state.cgroup, one.name)
    system.require_disk(states.labs_dir(), _NODE_GIB * len(state.nodes), "the lab")
    names = sorted({one.image for one in state.nodes})
    bases = {name: image.ensure(image.find(name), state.mirror) for name in names}
    for one in state.nodes:
        one.base = str(bases[one.image])
    state.save()
    return state


def boot(state: LabState, nodes: Sequence[NodeState] | None = None) -> None:
    """Make the network and start nodes that are off; returns when they take logins.

    Args:
        state: the lab.
        nodes: all of them by default.

    Raises:
        LabError: a step failed, or a node did not boot.
    """
    network.require_free(state)
    state.network = True
    state.save()
    with timed(f"network {state.subnet} on {state.bridge}"):
        network.up(state)
    nodes = state.nodes if nodes is None else nodes
    with timed(f"starting {', '.join(one.name for one in nodes)}"):
        rootfs.host_key(state.dir / "id_ed25519", f"mammoctl-lab-{state.name}")
        public = (state.dir / "id_ed25519.pub").read_text()
        keys: dict[str, str] = {}

        def prepare(one: NodeState) -> None:
            rootfs.mount(state, one)
            if node.supervisor_pid(state, one) is None:
                rootfs.prepare(state, one, public)
            keys[one.name] = rootfs.host_key(rootfs.host_key_path(state, one), one.name)

        each(state.nodes, prepare)
        files.write(state.dir / "known_hosts", inventory.known_hosts(state, keys))
        each(nodes, lambda one: node.start(state, one))
    wait_ready(state, nodes)
    state.pending = ""
    state.save()


def wait_ready(state: LabState, nodes: Sequence[NodeState]) -> None:
    """Wait until the nodes have booted; a node with a failed unit gets a warning.

    Raises:
        LabError: a node did not come up.
    """

    def wait(one: NodeState) -> None:
        if (said := remote.wait_until_ready(state, one, BOOT_SECONDS)) != "running":
            console.warn(f"{one.name} is {said}: see `systemctl --failed` there")

    with timed("waiting until every node takes logins"):
        each(nodes, wait)


def stop(state: LabState, nodes: Sequence[NodeState], *, kill: bool = False) -> None:
    """Switch nodes off: in good order, or like pulling the plug.

    Raises:
        LabError: a node does not shut down.
    """
    how = "killing" if kill else "shutting down"
    with timed(f"{how} {', '.join(one.name for one in nodes)}"):
        if kill:
            each(nodes, lambda one: node.kill(state, one))
            return
        for one in nodes:
            node.request_stop(state, one)
        each(nodes, lambda one: node.wait_until_stopped(state, one))


def down(name: str) -> bool:
    """Remove the lab with everything it made; returns False when there was none.

    Raises:
        LabError: something cannot be removed; what is left is still recorded.
    """
    with locked(name):
        state = states.load(name)
        if state is None:
            states.sweep(name)
            return False
        with timed(f"removing the lab {name}"):
            _remove(state)
    return True


def _remove(state: LabState) -> None:
    state.complete = False
    state.save()
    each(state.nodes, lambda one: node.kill(state, one))
    for one in state.nodes:
        rootfs.unmount(state, one)
    network.down(state)
    groups = [cgroups.group(state.cgroup, one.name) for one in state.nodes]
    for group in groups:
        group.remove()
    cgroups.remove_parents(groups[0])
    for one in state.nodes:
        for path in Path("/run/systemd/nspawn").glob(f"*/{node.machine(state, one)}"):
            shutil.rmtree(path, ignore_errors=True)
    for folder in state.inventories:
        inventory.remove(Path(folder))
    _require_unmounted(state)
    states.remove(state)


def _require_unmounted(state: LabState) -> None:
    """Never delete through a mount that is still there.

    Raises:
        LabError: something is mounted below the lab's folder.
    """
    if inside := system.mounts_below(state.dir):
        raise LabError(
            "something is still mounted in the lab's folder",
            details=inside,
            hint="unmount it, then run `mammoctl lab down` again",
        )
