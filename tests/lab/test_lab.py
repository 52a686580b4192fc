"""The lab itself, for real: boots machines, so it needs root and takes about two minutes."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mammoctl.lab import cgroups, system
from mammoctl.lab import state as states

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root"),
]

SUBNET = "10.178.91.0/24"
OTHER_SUBNET = "10.178.92.0/24"


@dataclass
class Cli:
    """Runs ``mammoctl lab`` for one lab, in a folder of its own."""

    name: str
    cwd: Path
    env: dict[str, str] | None = None

    def argv(self, *words: str) -> list[str]:
        # exec keeps what is behind `--` for the node
        at = words.index("--") if "--" in words else len(words)
        named = [*words[:at], "--name", self.name, *words[at:]]
        return [sys.executable, "-m", "mammoctl", "lab", *named]

    def attempt(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words),
            cwd=self.cwd,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )

    def __call__(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = self.attempt(*words)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def node(self, node: str, *command: str, code: int = 0) -> str:
        return self("exec", node, "--", *command, code=code).stdout.strip()

    def states(self) -> dict[str, str]:
        found = json.loads(self("status", "--json").stdout)
        return {one["name"]: one["state"] for one in found["nodes"]}


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A lab of two nodes with small, different limits."""
    lab = Cli("labcheck", tmp_path_factory.mktemp("lab"))
    lab("down")
    lab("up", "--nodes", "2", "--memory", "512m,640m", "--cpus", "0.5,1", "--subnet", SUBNET)
    yield lab
    lab("down")


def fingerprint() -> set[str]:
    """Everything on this machine that a lab could leave behind, other labs' things left out."""

    def out(*argv: str) -> list[str]:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()

    links = [link["ifname"] for link in json.loads("".join(out("ip", "-j", "link")))]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    groups = Path("/sys/fs/cgroup")
    cgroups = [str(path) for path in (*groups.glob("mammoctl*"), *groups.glob("*/mammoctl*"))]
    folders = [str(path) for path in (*Path("/var/lib").glob("mammoctl/labs/*"),)]
    folders += [str(path) for path in Path("/run/systemd/nspawn").glob("*/*")]
    folders += [str(path) for path in Path("/run/lock").glob("mammoctl-lab-labgone*")]
    folders += [str(path) for path in Path("/run").glob("netns/*")]
    processes = [
        line for line in out("ps", "-eo", "args") if "systemd-nspawn" in line or "supervise" in line
    ]
    found = {*links, *mounts, *cgroups, *folders, *processes, *out("nft", "list", "tables")}
    others = [states.load(path.parent.name) for path in states.labs_dir().glob("*/lab.json")]
    marks = ["sysctl", "ip_forward.json"]
    for other in others:
        assert other is not None
        marks += [other.bridge, f"ml{other.tag}n", other.table, f"labs/{other.name}"]
        marks += [f"lab-{other.name}", f"mammoctl-{other.name}-"]
    if not others:
        found.add("ip_forward " + Path("/proc/sys/net/ipv4/ip_forward").read_text().strip())
    return {item for item in found if not any(mark in item for mark in marks)}


def assert_nothing_new(before: set[str]) -> None:
    """Assert that everything has gone; an orphan may wait a moment for the machine's init."""
    deadline = time.monotonic() + 5
    while (left := fingerprint() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == set()


def oom_kills(lab: str, node: str) -> int:
    """How often the kernel has enforced the node's memory limit."""
    group = cgroups.group(f"mammoctl-lab-{lab}", node)
    name = "memory.events" if group.unified else "memory.oom_control"
    lines = (group.folder("memory") / name).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def throttled(lab: str, node: str) -> int:
    """How often the kernel has held the node back to its CPU quota."""
    folder = cgroups.group(f"mammoctl-lab-{lab}", node).folder("cpu")
    lines = (folder / "cpu.stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("nr_throttled "))


def burn(seconds: float, workers: int) -> str:
    """A program that keeps ``workers`` processes busy and prints the CPU seconds they got."""
    return (
        "import os,time\n"
        f"end=time.monotonic()+{seconds}\n"
        f"for _ in range({workers}):\n"
        "    if os.fork()==0:\n"
        "        while time.monotonic()<end: pass\n"
        "        os._exit(0)\n"
        f"for _ in range({workers}): os.wait()\n"
        "t=os.times(); print(t.children_user+t.children_system)\n"
    )


def test_up_again_changes_nothing(cli: Cli) -> None:
    ids = [cli.node(node, "cat", "/proc/sys/kernel/random/boot_id") for node in cli.states()]
    cli("up")
    assert [
        cli.node(node, "cat", "/proc/sys/kernel/random/boot_id") for node in cli.states()
    ] == ids


def test_up_with_other_options_is_refused(cli: Cli) -> None:
    said = cli("up", "--memory", "600m", code=1).stderr
    assert "600" in said and "lab down --name labcheck" in said


def test_nodes_are_bare_machines(cli: Cli) -> None:
    assert cli.node("labcheck1", "systemctl is-system-running") == "running"
    assert cli.node("labcheck1", "hostname") == "labcheck1"
    assert cli.node("labcheck1", "sudo -n id -u") == "0"
    assert cli.node("labcheck1", "ls /etc/hosts 2>/dev/null || echo none") == "none"
    assert cli.node("labcheck1", "command -v java uv nft gcc || echo none") == "none"
    assert cli.node("labcheck1", "sudo passwd -S root").split()[1] in ("L", "LK")
    ids = {cli.node(node, "cat /etc/machine-id") for node in ("labcheck1", "labcheck2")}
    assert len(ids) == 2


def test_inventory_is_an_ordinary_one(cli: Cli) -> None:
    folder = cli.cwd / "inventory" / "labcheck"
    assert stat.S_IMODE((folder / "id_ed25519").stat().st_mode) == 0o600
    tool = Path(sys.executable).parent / "ansible-inventory"
    listed = subprocess.run(
        [tool, "-i", folder, "--list"], capture_output=True, text=True, check=True
    )
    found = json.loads(listed.stdout)
    assert found["spark_master"]["hosts"] == ["labcheck1"]
    assert found["spark_workers"]["hosts"] == ["labcheck1", "labcheck2"]
    one = found["_meta"]["hostvars"]["labcheck2"]
    assert (one["spark_node_cores"], one["spark_node_memory_mb"]) == (1, 640)
    ping = subprocess.run(
        [Path(sys.executable).parent / "ansible", "-i", folder, "all", "-m", "ping"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ping.returncode == 0, ping.stdout + ping.stderr
    assert ping.stdout.count('"pong"') == 2


def test_a_foreign_inventory_is_not_overwritten(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "inventory" / "labcheck"
    folder.mkdir(parents=True)
    (folder / "hosts.yml").write_text("all: {}\n")
    said = Cli("labcheck", tmp_path)("up", code=1).stderr
    assert "was not written by the lab" in said
    assert (folder / "hosts.yml").read_text() == "all: {}\n"


def test_views_match_the_limits(cli: Cli) -> None:
    total = int(cli.node("labcheck1", "free -m | awk '/Mem:/ {print $2}'"))
    assert total == 512
    for node in ("labcheck1", "labcheck2"):
        assert cli.node(node, "grep -c ^processor /proc/cpuinfo") == "1"
        assert cli.node(node, "cat /sys/devices/system/cpu/online") == "0"
        assert cli.node(node, "nproc") == "1"


def test_memory_view_follows_the_use(cli: Cli) -> None:
    program = (
        "import time\n"
        "def left():\n"
        "    text = open('/proc/meminfo').read()\n"
        "    return int(text.split('MemAvailable:')[1].split()[0])\n"
        "a=left(); b=bytearray(200<<20); time.sleep(2.5); print((a-left())//1024)"
    )
    assert 170 < int(cli.node("labcheck2", "python3", "-c", program)) < 260


def test_memory_limit_is_real(cli: Cli) -> None:
    program = "b=bytearray(560<<20); print(len(b))"
    assert cli.node("labcheck2", "python3", "-c", program) == str(560 << 20)
    before = oom_kills("labcheck", "labcheck1")
    done = cli.attempt("exec", "labcheck1", "--", "python3", "-c", program)
    assert done.returncode in (137, 255)  # killed alone, or with its whole login session
    assert done.stdout == ""
    assert oom_kills("labcheck", "labcheck1") > before
    assert cli.states() == {"labcheck1": "up", "labcheck2": "up"}


def test_cpu_limit_is_real(cli: Cli) -> None:
    before = throttled("labcheck", "labcheck1")
    used = float(cli.node("labcheck1", "python3", "-c", burn(4, 2)))
    assert 0.02 < used < 0.5 * 4 * 1.25
    # A machine busy with other things may give the node less than its quota.
    assert throttled("labcheck", "labcheck1") > before or used < 0.5 * 4 * 0.9


def test_nodes_reach_each_other_and_nobody_else_reaches_them(cli: Cli) -> None:
    program = "import socket; print(socket.create_connection(('10.178.91.12', 22), 3).recv(4))"
    assert cli.node("labcheck1", "python3", "-c", program) == "b'SSH-'"
    rules = subprocess.run(
        ["nft", "list", "table", "ip", "mammoctl_lab_labcheck"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "masquerade" in rules.stdout and "drop" in rules.stdout


def test_a_node_may_change_its_own_network(cli: Cli) -> None:
    cli.node("labcheck1", "sudo ip link add probe0 type bridge && sudo ip link del probe0")
    assert not Path("/sys/class/net/probe0").exists()


def test_exec_reports_every_node(cli: Cli) -> None:
    done = cli("exec", "--", "hostname; exit $(hostname | tr -dc 0-9)", code=2)
    assert done.stdout.splitlines() == ["labcheck1: labcheck1", "labcheck2: labcheck2"]
    assert "labcheck1: exit code 1" in done.stderr
    assert cli("exec", "labcheck1", "--", "printf", "a b").stdout == "a b"
    assert "labcheck1, labcheck2" in cli("exec", "nobody", "--", "true", code=2).stderr


def test_reboot_brings_the_node_back(cli: Cli) -> None:
    boot = "cat /proc/sys/kernel/random/boot_id"
    before = cli.node("labcheck1", boot)
    cli.attempt("exec", "labcheck1", "--", "sudo systemctl reboot")
    deadline = time.monotonic() + 60
    after = before
    while after in ("", before) and time.monotonic() < deadline:
        time.sleep(0.3)
        after = cli.attempt("exec", "labcheck1", "--", boot).stdout.strip()
    assert after not in ("", before)
    cli("start")
    assert cli.node("labcheck1", "free -m | awk '/Mem:/ {print $2}'") == "512"
    assert cli.states()["labcheck1"] == "up"


def test_power_off_stop_kill_and_start(cli: Cli) -> None:
    cli.node("labcheck2", "touch kept; sync")
    cli.attempt("exec", "labcheck2", "--", "sudo systemctl poweroff")
    deadline = time.monotonic() + 60
    while cli.states()["labcheck2"] != "off" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert cli.states() == {"labcheck1": "up", "labcheck2": "off"}
    cli("up")
    assert cli.node("labcheck2", "ls") == "kept"
    cli("stop", "labcheck2", "--kill")
    assert cli.states() == {"labcheck1": "up", "labcheck2": "off"}
    cli("start", "labcheck2")
    cli("stop", "labcheck2")
    assert cli.states() == {"labcheck1": "up", "labcheck2": "off"}
    cli("start", "labcheck2")
    assert cli.node("labcheck2", "ls") == "kept"


def test_snapshots_restore_again_and_again(cli: Cli) -> None:
    cli("exec", "--", "echo one > file; mkdir -p tree/a; sync")
    cli("snapshot", "first")
    cli("exec", "--", "echo two > file; mv tree moved; sync")
    cli("snapshot", "second")
    for _ in range(2):
        start = time.monotonic()
        cli("restore", "first")
        assert time.monotonic() - start < 20
        assert set(cli("exec", "--", "cat file; ls -d tree").stdout.split()) == {
            "labcheck1:",
            "labcheck2:",
            "one",
            "tree",
        }
        cli("exec", "--", "rm -r file tree")
        cli("restore", "second")
        assert cli.node("labcheck2", "cat file; ls -d moved") == "two\nmoved"
    assert json.loads(cli("status", "--json").stdout)["snapshots"] == ["first", "second"]
    assert "already" in cli("snapshot", "first", code=1).stderr
    cli("snapshot", "first", "--replace")
    assert "first, second" in cli("restore", "third", code=1).stderr
    layers = sorted(
        path.name for path in Path("/var/lib/mammoctl/labs/labcheck").glob("nodes/*1/l/*")
    )
    assert len(layers) <= 5  # what no snapshot needs has gone


def test_a_second_command_at_the_same_time_is_refused(cli: Cli) -> None:
    with states.lock("lab-labcheck", wait=False):
        assert "another mammoctl command" in cli("up", code=1).stderr


def test_a_subnet_in_use_is_refused(tmp_path: Path) -> None:
    system.run(["ip", "link", "add", "labprobe0", "type", "bridge"])
    try:
        system.run(["ip", "addr", "add", "10.178.93.7/25", "dev", "labprobe0"])
        system.run(["ip", "link", "set", "labprobe0", "up"])
        said = Cli("labother", tmp_path)("up", "--subnet", "10.178.93.0/24", code=1).stderr
    finally:
        system.run(["ip", "link", "del", "labprobe0"])
    assert "in use" in said and "labprobe0" in said and "--subnet" in said
    assert states.load("labother") is None
    assert not (tmp_path / "inventory").exists()


def test_a_foreign_interface_is_left_alone(tmp_path: Path) -> None:
    system.run(["ip", "link", "add", "mlab-labother", "type", "bridge"])
    try:
        other = Cli("labother", tmp_path)
        said = other("up", "--subnet", OTHER_SUBNET, code=1).stderr
        other("down")
        assert Path("/sys/class/net/mlab-labother").exists()
    finally:
        system.run(["ip", "link", "del", "mlab-labother"])
    assert "did not make" in said and "--name" in said


def test_down_leaves_nothing(tmp_path: Path) -> None:
    before = fingerprint()
    lab = Cli("labgone", tmp_path)
    lab("up", "--nodes", "1", "--memory", "512m", "--subnet", OTHER_SUBNET)
    assert fingerprint() - before, "the lab should be visible"
    lab("snapshot", "bare")
    # the worst case: the supervisor is gone and its node runs on
    pid = int(Path("/var/lib/mammoctl/labs/labgone/nodes/labgone1/supervisor").read_text())
    os.kill(pid, signal.SIGKILL)
    secrets = tmp_path / "inventory" / "labgone" / "secrets"
    secrets.mkdir()
    (secrets / "spark").write_text("x")
    lab("down")
    assert_nothing_new(before)
    assert before - fingerprint() == set()
    assert not (tmp_path / "inventory" / "labgone").exists()
    lab("down")  # there is none: nothing to do


SOME = [(signal.SIGINT, 0.8), (signal.SIGKILL, 0.4), (signal.SIGKILL, 2.0)]
OTHERS = set(itertools.product([signal.SIGINT, signal.SIGKILL], [0.4, 0.8, 1.3, 2.0])) - set(SOME)


@pytest.mark.parametrize(
    ("signal_", "delay"),
    [*SOME, *(pytest.param(*one, marks=pytest.mark.slow) for one in sorted(OTHERS))],
)
def test_an_interrupted_up_can_be_repeated(
    tmp_path: Path, signal_: signal.Signals, delay: float
) -> None:
    before = fingerprint()
    lab = Cli("labgone", tmp_path)
    words = ("up", "--nodes", "2", "--memory", "512m", "--subnet", OTHER_SUBNET)
    with subprocess.Popen(
        lab.argv(*words), cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        time.sleep(delay)
        os.killpg(process.pid, signal_)
        _, said = process.communicate(timeout=30)
    if signal_ == signal.SIGINT and "==>" in said and "is up" not in said:
        assert process.returncode == 130
        assert said.count("error:") == 1 and "Traceback" not in said
    lab(*words)
    assert lab.states() == {"labgone1": "up", "labgone2": "up"}
    lab("down")
    assert_nothing_new(before)


def kill_when(lab: Cli, says: str, *words: str) -> None:
    """Start a command and kill -9 it when it says something on standard error."""
    with subprocess.Popen(
        lab.argv(*words), cwd=lab.cwd, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if says in line:
                process.kill()
                break
        else:
            pytest.fail(f"{words} never said {says!r}")


def test_snapshot_restore_and_down_can_be_repeated_after_a_kill(tmp_path: Path) -> None:
    before = fingerprint()
    lab = Cli("labgone", tmp_path)
    lab("up", "--nodes", "1", "--memory", "512m", "--subnet", OTHER_SUBNET)
    lab.node("labgone1", "echo one > file; sync")
    kill_when(lab, "shutting down", "snapshot", "one")
    lab("snapshot", "one")
    kill_when(lab, "starting", "snapshot", "two")
    lab("snapshot", "two")
    assert lab.node("labgone1", "cat file; echo two > file; sync") == "one"
    kill_when(lab, "killing", "restore", "one")
    lab("restore", "one")
    assert lab.node("labgone1", "cat file; echo three > file; sync") == "one"
    kill_when(lab, "starting", "restore", "two")
    lab("restore", "two")
    assert lab.node("labgone1", "cat file") == "one"
    kill_when(lab, "removing", "down")
    lab("down")
    assert_nothing_new(before)


def test_a_lab_comes_back_after_the_machine_restarted(tmp_path: Path) -> None:
    before = fingerprint()
    lab = Cli("labgone", tmp_path)
    lab("up", "--nodes", "1", "--memory", "512m", "--subnet", OTHER_SUBNET)
    lab("snapshot", "bare")
    lab.node("labgone1", "echo kept > file; sync")
    # what a restart takes away
    lab("stop", "--kill")
    state = states.require("labgone")
    folder = state.node_dir(state.nodes[0])
    system.run(["umount", folder / "root"])
    system.run(["umount", folder / "netns"])
    system.run(["ip", "link", "del", state.bridge])
    system.run(["nft", "delete", "table", "ip", state.table])
    group = cgroups.group(state.cgroup, "labgone1")
    group.remove()
    cgroups.remove_parents(group)
    assert lab.states() == {"labgone1": "off"}
    lab("up")
    assert lab.node("labgone1", "cat file") == "kept"
    lab("down")
    assert_nothing_new(before)


@pytest.mark.slow
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_image_build_can_be_repeated(
    tmp_path: Path, signal_: signal.Signals
) -> None:
    before = fingerprint()
    cache = tmp_path / "cache"
    lab = Cli("labgone", tmp_path, {**os.environ, "MAMMOCTL_CACHE_DIR": str(cache)})
    words = ("up", "--nodes", "1", "--memory", "512m", "--subnet", OTHER_SUBNET)
    with subprocess.Popen(
        lab.argv(*words), cwd=tmp_path, env=lab.env, stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(8)
        process.send_signal(signal_)
        process.communicate(timeout=60)
    assert process.returncode == (130 if signal_ == signal.SIGINT else -signal.SIGKILL)
    lab(*words)
    assert lab.states() == {"labgone1": "up"}
    lab("down")
    assert_nothing_new(before)
    shutil.rmtree(cache)
