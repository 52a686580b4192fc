"""From what the user asked for to a lab that can be built."""

from __future__ import annotations

from dataclasses import dataclass

from mammoctl.lab import image, limits, network
from mammoctl.lab.state import LabState, NodeState, check_name


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
    closed: bool | None = None


def plan(request: Request) -> LabState:
    """Turn a request into a lab that does not exist yet.

    Raises:
        UsageError: an option has a value that cannot be.
    """
    name = check_name(request.name)
    count = 3 if request.nodes is None else request.nodes
    cores = limits.usable_cores()
    subnet = network.parse_subnet(request.subnet or network.DEFAULT_SUBNET, count)
    gateway, addresses = network.addresses(subnet, count)
    images = limits.per_node(request.image or "debian12", count, "--image")
    for one in images:
        image.find(one)
    default = str(limits.default_memory_mb(count, limits.total_memory_mb()))
    memory = limits.per_node(request.memory or default, count, "--memory")
    texts = limits.per_node(request.cpus or str(len(cores)), count, "--cpus")
    cpus = [limits.parse_cpus(text, len(cores)) for text in texts]
    nodes = [
        NodeState(
            name=f"{name}{n + 1}",
            address=addresses[n],
            image=images[n],
            memory_mb=limits.parse_memory(memory[n]),
            cpus=cpus[n],
            cores=own,
        )
        for n, own in enumerate(limits.assign_cores(cpus, cores))
    ]
    closed = bool(request.closed)
    return LabState(name, str(subnet), gateway, request.mirror or "", nodes, closed=closed)


def completed(request: Request, there: LabState) -> Request:
    """Return ``request`` with what it leaves open taken from the lab that is there."""
    if request.nodes not in (None, len(there.nodes)):
        return request
    return Request(
        request.name,
        len(there.nodes),
        request.image or ",".join(one.image for one in there.nodes),
        there.mirror if request.mirror is None else request.mirror,
        request.memory or ",".join(str(one.memory_mb) for one in there.nodes),
        request.cpus or ",".join(str(one.cpus) for one in there.nodes),
        request.subnet or there.subnet,
        there.closed if request.closed is None else request.closed,
    )


def differences(request: Request, there: LabState) -> list[str]:
    """Return the options of ``request`` that the existing lab does not have, in words.

    Raises:
        UsageError: an option has a value that cannot be.
    """
    if request.nodes not in (None, len(there.nodes)):
        return [f"--nodes {request.nodes} (it has {len(there.nodes)})"]
    wanted = plan(completed(request, there))
    pairs: list[tuple[str, object, object]] = [
        ("--subnet", wanted.subnet, there.subnet),
        ("--closed", wanted.closed, there.closed),
        ("--mirror", wanted.mirror or "default", there.mirror or "default"),
    ]
    for new, old in zip(wanted.nodes, there.nodes, strict=True):
        pairs += [
            (f"--image of {old.name}", new.image, old.image),
            (f"--memory of {old.name}, MiB:", new.memory_mb, old.memory_mb),
            (f"--cpus of {old.name}", new.cpus, old.cpus),
        ]
    return [f"{option} {new} (it has {old})" for option, new, old in pairs if new != old]
