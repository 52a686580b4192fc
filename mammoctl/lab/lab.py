"""Bring a lab up and down; every step can be repeated after an interruption."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mammoctl import console
from mammoctl.errors import LabError
from mammoctl.lab import cgroups, image, inventory, limits, network, node, rootfs, system
from mammoctl.lab import state as states
from mammoctl.lab.state import LabState, NodeState

BOOT_SECONDS = 120
_NODE_GIB = 1.0


@dataclass(frozen=True)
class Request:
    """What the user asked for; ``None`` means the default, or what the lab already has."""

    name: str
    nodes: int | None = None
    image: str | None = None
    mirror: str | None = None
    memory: str | None = None
    cpus: str | None = None
    subnet: str | None = None


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
        list(pool.map(guarded, nodes))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        details = [line for exc in errors for line in (exc.message, *(f"  {d}" for d in exc.details))]
        raise LabError(f"{len(errors)} nodes failed", details=details, hint=errors[0].hint)


def plan(request: Request) -> LabState:
    """Turn a request into a lab that does not exist yet.

    Raises:
        UsageError: an option has a value that cannot be.
    """
    count = 3 if request.nodes is None else request.nodes
    cores = limits.usable_cores()
    subnet = network.parse_subnet(request.subnet or network.DEFAULT_SUBNET, count)
    gateway, addresses = network.addresses(subnet, count)
    images = limits.per_node(request.image or "debian12", count, "--image")
    for name in images:
        image.find(name)
    default = str(limits.default_memory_mb(count, limits.total_memory_mb()))
    memory = limits.per_node(request.memory or default, count, "--memory")
    cpu_texts = limits.per_node(request.cpus or str(len(cores)), count, "--cpus")
    cpus = [limits.parse_cpus(text, len(cores)) for text in cpu_texts]
    nodes = [
        NodeState(
            name=f"{request.name}{n + 1}",
            address=addresses[n],
            image=images[n],
            memory_mb=limits.parse_memory(memory[n]),
            cpus=cpus[n],
            cores=own,
        )
        for n, own in enumerate(limits.assign_cores(cpus, cores))
    ]
    return LabState(request.name, str(subnet), gateway, request.mirror or "", nodes)


def differences(request: Request, there: LabState) -> list[str]:
    """Return the options of ``request`` that the existing lab does not have, in words."""
    filled = Request(
        request.name,
        request.nodes or len(there.nodes),
        request.image or ",".join(one.image for one in there.nodes),
        there.mirror if request.mirror is None else request.mirror,
        request.memory or ",".join(str(one.memory_mb) for one in there.nodes),
        request.cpus or ",".join(str(one.cpus) for one in there.nodes),
        request.subnet or there.subnet,
    )
    if len(there.nodes) != filled.nodes:
        return [f"--nodes {filled.nodes} (it has {len(there.nodes)})"]
    wanted = plan(filled)
    found = []
    for option, new, old in (
        ("--subnet", wanted.subnet, there.subnet),
        ("--mirror", wanted.mirror, there.mirror),
        *(("--image", n.image, o.image) for n, o in zip(wanted.nodes, there.nodes, strict=True)),
        *(("--memory", n.memory_mb, o.memory_mb) for n, o in zip(wanted.nodes, there.nodes, strict=True)),
        *(("--cpus", n.cpus, o.cpus) for n, o in zip(wanted.nodes, there.nodes, strict=True)),
    ):
        if new != old:
            found.append(f"{option} {new} (it has {old})")
    return found


def up(request: Request, inventory_dir: Path) -> LabState:
    """Bring the lab up, or the part of it that is not; returns when every node takes logins.

    Raises:
        LabError: something of the machine is in the way, or a node does not boot.
        UsageError: an option has a value that cannot be.
    """
    states.check_name(request.name)
    system.require_system()
    start = time.monotonic()
    with locked(request.name):
        state = states.load(request.name)
        if state is not None and not state.complete:
            console.step("removing what an interrupted `lab up` left")
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
        _boot(state)
        folder = str(inventory_dir.absolute())
        state.inventories = sorted({*state.inventories, folder})
        state.complete = True
        state.save()
        inventory.write(state, inventory_dir)
    console.note(f"lab {state.name} is up in {time.monotonic() - start:.1f} s: {inventory_dir}")
    return state


def _create(state: LabState) -> LabState:
    system.require_disk(states.labs_dir(), _NODE_GIB * len(state.nodes), "the lab")
    network.require_free(state)
    bases = {name: image.ensure(image.find(name), state.mirror) for name in {n.image for n in state.nodes}}
    for one in state.nodes:
        one.base = str(bases[one.image])
        cgroups.group(state.cgroup, one.name)
    state.save()
    return state


def _boot(state: LabState) -> None:
    if not state.network:
        network.require_free(state)
    state.network, state.boot = True, states.boot_id()
    state.save()
    with timed(f"network {state.subnet} on {state.bridge}"):
        network.up(state)
    with timed(f"starting {len(state.nodes)} nodes"):
        rootfs.host_key(state.dir / "id_ed25519", f"mammoctl-lab-{state.name}")
        public = (state.dir / "id_ed25519.pub").read_text()
        keys: dict[str, str] = {}

        def begin(one: NodeState) -> None:
            rootfs.mount(state, one)
            keys[one.name] = rootfs.prepare(state, one, public)
            node.start(state, one)

        each(state.nodes, begin)
        states.write_atomically(state.dir / "known_hosts", inventory.known_hosts(state, keys))
    with timed("waiting until every node takes logins"):
        wait_ready(state, state.nodes)


def wait_ready(state: LabState, nodes: Sequence[NodeState]) -> None:
    """Wait until the nodes have booted; a node with a failed unit gets a warning."""

    def wait(one: NodeState) -> None:
        if (said := node.wait_until_ready(state, one, state.dir, BOOT_SECONDS)) != "running":
            console.warn(f"{one.name} is {said}: see `systemctl --failed` there")

    each(nodes, wait)


def stop(state: LabState, nodes: Sequence[NodeState], *, kill: bool = False) -> None:
    """Switch nodes off: in good order, or like pulling the plug."""
    if kill:
        each(nodes, lambda one: node.kill(state, one))
        return
    for one in nodes:
        node.request_stop(state, one)
    each(nodes, lambda one: node.wait_until_stopped(state, one))


def start(state: LabState, nodes: Sequence[NodeState]) -> None:
    """Switch nodes on and wait until they take logins."""
    network.up(state)
    each(nodes, lambda one: node.start(state, one))
    wait_ready(state, nodes)


def down(name: str) -> bool:
    """Remove the lab with everything it made; returns False when there was none."""
    with locked(name):
        state = states.load(name)
        if state is None:
            return False
        with timed(f"removing the lab {name}"):
            _remove(state)
    return True


def _remove(state: LabState) -> None:
    state.complete = False
    state.save()
    for one in state.nodes:
        node.kill(state, one)
        rootfs.unmount(state, one)
    network.down(state)
    groups = [cgroups.group(state.cgroup, one.name) for one in state.nodes]
    for group in groups:
        group.remove()
    cgroups.remove_parents(groups[0])
    for one in state.nodes:
        shutil.rmtree(f"/run/systemd/nspawn/propagate/{node.machine(state, one)}", ignore_errors=True)
    for folder in state.inventories:
        inventory.remove(Path(folder))
    _remove_tree(state.dir)
    for path in (states.labs_dir(), states.labs_dir().parent):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _remove_tree(folder: Path) -> None:
    """Remove the lab's folder, its record last."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    if inside := [line.split()[4] for line in mounts if line.split()[4].startswith(f"{folder}/")]:
        raise LabError("something is still mounted in the lab's folder", details=inside)
    shutil.rmtree(folder / "nodes", ignore_errors=False) if (folder / "nodes").exists() else None
    for path in folder.iterdir():
        if path.name != "lab.json":
            path.unlink()
    (folder / "lab.json").unlink()
    folder.rmdir()
