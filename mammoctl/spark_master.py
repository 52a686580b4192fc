"""What the Spark master says about its workers, and how it compares with what is declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mammoctl.errors import RemoteError


class Worker(BaseModel):
    """A worker as the master sees it; memory in MiB."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    id: str
    host: str
    port: int
    cores: int
    cores_used: int = Field(0, alias="coresused")
    memory_mb: int = Field(alias="memory")
    memory_used_mb: int = Field(0, alias="memoryused")
    state: str

    @property
    def alive(self) -> bool:
        """Tell whether the master can use it."""
        return self.state == "ALIVE"


class MasterState(BaseModel):
    """The master's ``/json/``: its URL, state, workers and running applications."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: str
    status: str
    workers: list[Worker]
    activeapps: list[dict[str, Any]] = []

    @property
    def alive(self) -> list[Worker]:
        """The workers that the master can use; dead ones stay listed for a while."""
        return [worker for worker in self.workers if worker.alive]


def parse(document: object) -> MasterState:
    """Read the document that the master's page ``/json/`` answers with.

    Raises:
        RemoteError: it is something else.
    """
    try:
        return MasterState.model_validate(document)
    except ValidationError as exc:
        raise RemoteError(
            "the Spark master's JSON is not understood",
            details=[f"{error['loc']}: {error['msg']}" for error in exc.errors()[:3]],
            hint="is another program listening on the master's port?",
        ) from exc


def differences(
    state: MasterState, expected: Mapping[str, tuple[str, int, int]]
) -> dict[str, list[str]]:
    """Compare the registered workers with what is declared.

    Args:
        state: what the master says.
        expected: by node name: address, cores, memory in MiB.

    Returns:
        By node name: what is wrong with it, in words; an unexpected worker is under its address.
    """
    wrong: dict[str, list[str]] = {}
    left = {worker.id: worker for worker in state.alive}
    for name, (address, cores, memory_mb) in expected.items():
        mine = [worker for worker in left.values() if worker.host in (address, name)]
        for worker in mine:
            del left[worker.id]
        if not mine:
            dead = [w for w in state.workers if w.host in (address, name)]
            seen = f"the master knows it as {dead[-1].state}" if dead else "not registered"
            wrong.setdefault(name, []).append(f"{seen}; it should be ALIVE")
            continue
        if len(mine) > 1:
            wrong.setdefault(name, []).append(f"registered {len(mine)} times")
        if mine[0].cores != cores:
            wrong.setdefault(name, []).append(f"{mine[0].cores} cores instead of {cores}")
        if mine[0].memory_mb != memory_mb:
            wrong.setdefault(name, []).append(
                f"{mine[0].memory_mb} MiB of memory instead of {memory_mb} MiB"
            )
    for worker in left.values():
        wrong.setdefault(worker.host, []).append("a worker that the inventory does not have")
    return wrong
