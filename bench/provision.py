#!/usr/bin/env python3
"""What provisioning costs: against a plain shell script, and a second run against bare tasks.

For each number of nodes, on a lab of its own (root; 5 GB of disk and 1 GB of memory per node):

first run   `mammoctl provision` on bare nodes, and on bare nodes again a shell script that does
            the same over SSH on all nodes at once: apt-get, the bundle's files by tar and
            sha256sum, unpack the environment, the small files, format HDFS, start the units, wait
            for the workers. Bundle present for both; `--cached` puts the Debian packages into the
            nodes' caches first, for both.
second run  `mammoctl provision` again, and a playbook of as many bare `stat` and `copy` tasks as
            it made module calls, over the same connections.

Prints wall-clock seconds, the start of each command included, and their ratios.
Usage: bench/provision.py [--nodes 3,6,12] [--cached] [--second-only]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mammoctl import inventory
from mammoctl.ansible import runner
from mammoctl.bundle.model import from_json
from mammoctl.bundle.resolve import bundles_dir
from mammoctl.inventory import Cluster
from mammoctl.ssh.config import ssh_config

NAME = "bench"
SUBNET = "10.213.9.0/24"
NODE_MEMORY = "6144m"
MAMMOCTL = Path(sys.executable).parent / "mammoctl"
STORE = "/var/lib/mammoctl/store"
PATIENCE = 1200  # seconds for the workers to register after the shell script
# One line per execution on a node in Ansible's log at verbosity 3; with pipelining one per module.
REMOTE_EXECUTION = re.compile(r"^<([^>]+)> SSH: EXEC ", re.MULTILINE)

# What a careful administrator would type on a node; the words in capitals are set before.
DOWNLOAD = """
rm -f /etc/apt/apt.conf.d/docker-clean
echo 'APT::Keep-Downloaded-Packages "true";' >/etc/apt/apt.conf.d/01keep
apt-get -qq update
apt-get -qq -y install --no-install-recommends --download-only $PACKAGES >/dev/null
"""
PACKAGES = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -y install --no-install-recommends $PACKAGES >/dev/null
mkdir -p /var/lib/mammoctl/store
"""
ENVIRONMENT = """
cd /var/lib/mammoctl/store && sha256sum --quiet -c
chmod -R go+rX /var/lib/mammoctl
for user in $USERS; do
  useradd --system --no-create-home --home-dir ${user#*:} --shell /usr/sbin/nologin ${user%%:*}
done
/usr/bin/python3 -m venv --without-pip $ENV
tar --extract --zstd --no-same-owner --file $ARCHIVE --directory $ENV
rm -r $(dirname $ARCHIVE)
ln -sfn $ENV /opt/mammoctl/env
"""
SERVICES = """
cd / && tar -xpf - && systemctl daemon-reload
hdfs() { runuser -u hdfs -- /opt/mammoctl/bin/hdfs "$@" >/dev/null 2>&1; }
if [ -n "$MASTER" ]; then hdfs namenode -format -force; fi
systemctl enable --quiet --now $UNITS
if [ -n "$MASTER" ]; then
  hdfs dfsadmin -safemode wait
  hdfs dfs -mkdir -p /mammoctl/data /mammoctl/features /mammoctl/weights /mammoctl/results \
    /mammoctl/events
fi
"""
ALIVE = """
import json, sys, urllib.request
print(json.load(urllib.request.urlopen(sys.argv[1]))["aliveworkers"])
"""


def run(argv: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """Return what a command says on standard output; if it fails, say all and end."""
    env = {**os.environ, **(environment or {})}
    done = subprocess.run(argv, cwd=folder, env=env, text=True, capture_output=True, check=False)
    if done.returncode:
        said = f"{done.stdout}{done.stderr}"
        raise SystemExit(f"{shlex.join(argv)} ended with {done.returncode}\n{said}")
    return done.stdout


class Lab:
    """A lab, and the plain SSH connections of the shell script to it."""

    def __init__(self, nodes: int, folder: Path) -> None:
        self.folder = folder
        wanted = ["--nodes", str(nodes), "--memory", NODE_MEMORY, "--subnet", SUBNET]
        self.mammoctl("lab", "up", "--name", NAME, *wanted)
        self.cluster: Cluster = inventory.load(str(folder / "inventory" / NAME))
        self.names = list(self.cluster.hosts)
        self.config = Path()

    def mammoctl(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Run the command line in the benchmark's own folder."""
        return run([str(MAMMOCTL), *arguments], self.folder, environment)

    def provision(self, verbosity: int = 0) -> tuple[float, dict[str, object]]:
        """Return the seconds of the whole command, and what it says of itself."""
        began = time.perf_counter()
        environment = {"ANSIBLE_VERBOSITY": str(verbosity)}
        said = self.mammoctl("provision", "-i", NAME, "--json", environment=environment)
        return time.perf_counter() - began, json.loads(said)

    def ssh(self, name: str, command: str) -> list[str]:
        """Return the command line that runs ``command`` on a node, as root."""
        return ["ssh", "-F", str(self.config), name, f"sudo -n bash -c {shlex.quote(command)}"]

    def say(self, name: str, command: str) -> str:
        """Return what a command on a node says."""
        return run(self.ssh(name, command), self.folder)

    def start(
        self, name: str, script: str, words: Mapping[str, str], feed: str = ""
    ) -> subprocess.Popen[bytes]:
        """Start a script on a node; ``feed`` is a local command that gives it its input."""
        head = "".join(f"{key}={shlex.quote(value)}\n" for key, value in words.items())
        line = shlex.join(self.ssh(name, f"set -e\n{head}{script}"))
        local = f"{feed} | {line}" if feed else line
        argv = ["bash", "-o", "pipefail", "-c", local]
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL)


def wait(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for all; one that fails ends the benchmark."""
    codes = [process.wait() for process in started]
    if any(codes):
        raise SystemExit(f"a step of the shell script failed: {codes}")


def capture(lab: Lab, name: str) -> dict[str, str]:
    """Take what was laid down on a node, for the shell script to lay it down again.

    Returns:
        The script's words: Debian packages, users with their homes, units. The small files go to
        NAME.tar in the lab's folder.
    """
    manifest = json.loads(lab.say(name, "cat /var/lib/mammoctl/manifest.json"))
    places = [p for p in manifest["trees"] + manifest["files"] if not p.startswith(STORE)]
    relative = shlex.join(place.removeprefix("/") for place in places)
    with (lab.folder / f"{name}.tar").open("wb") as out:
        line = lab.ssh(name, f"tar -C / -cf - --no-recursion {relative}")
        subprocess.run(line, check=True, stdout=out)
    accounts = lab.say(name, f"getent passwd {shlex.join(manifest['users'])}").splitlines()
    fields = [account.split(":") for account in accounts]
    units = [Path(p).name for p in manifest["files"] if p.startswith("/etc/systemd/system/")]
    return {
        "PACKAGES": " ".join(manifest["packages"]),
        "USERS": " ".join(f"{field[0]}:{field[5]}" for field in fields),
        "UNITS": " ".join(units),
    }


def shell(lab: Lab, captured: Mapping[str, Mapping[str, str]], key: str) -> float:
    """Do the installation by the shell script, on all nodes at once, and return its seconds."""
    bundle = from_json(bundles_dir() / key / "bundle.json")
    files = [f for f in bundle.files if "cpu" in f.variants and not f.kind.startswith("sbt")]
    requirements = bundle.requirements["cpu"]
    packed = next(file for file in files if file.kind == "environment")
    sums = lab.folder / "sums"
    sums.write_text("".join(f"{file.sha256}  {file.path}\n" for file in files))
    words = {
        "ARCHIVE": f"{STORE}/{packed.path}",
        "ENV": f"/opt/mammoctl/envs/{requirements.sha256[:16]}",
    }
    paths = shlex.join(file.path for file in files)
    pack = f"tar -C {shlex.quote(str(bundle.store))} -cf - {paths}"
    master = lab.cluster.master
    began = time.perf_counter()
    wait([lab.start(name, PACKAGES, captured[name]) for name in lab.names])
    wait([lab.start(name, f"tar -C {STORE} -xf -", {}, pack) for name in lab.names])
    feed = f"cat {sums}"
    wait([lab.start(name, ENVIRONMENT, {**captured[name], **words}, feed) for name in lab.names])
    wait(
        [
            lab.start(
                name,
                SERVICES,
                {**captured[name], "MASTER": "1" if name == master.name else ""},
                f"cat {lab.folder / name}.tar",
            )
            for name in lab.names
        ]
    )
    page = f"http://{master.address}:8080/json/"
    ask = lab.ssh(master.name, f"python3 -c {shlex.quote(ALIVE)} {page}")
    while time.perf_counter() - began < PATIENCE:
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
        if done.returncode == 0 and int(done.stdout) == len(lab.cluster.workers):
            return time.perf_counter() - began
        time.sleep(1)
    raise SystemExit("the workers did not register after the shell script")


def bare_tasks(lab: Lab, count: int) -> float:
    """Return the seconds of a playbook of ``count`` tasks that change nothing, stat and copy."""
    tasks: list[dict[str, object]] = []
    for index in range(0, count, 2):
        copy = {"content": "x\n", "dest": f"/opt/mammoctl/bench-{index}", "mode": "0644"}
        tasks.append({"name": f"Stat {index}", "ansible.builtin.stat": {"path": "/etc/hosts"}})
        tasks.append({"name": f"Copy {index}", "ansible.builtin.copy": copy})
    play = {"hosts": "all", "gather_facts": False, "become": True, "tasks": tasks[:count]}
    path = lab.folder / "bare-tasks.yml"
    path.write_text(json.dumps([play]))
    with Path(os.devnull).open("w") as nothing:
        environment = runner.environment(lab.cluster, nothing.fileno())
        environment.pop("ANSIBLE_CALLBACKS_ENABLED")
        program = str(MAMMOCTL.with_name("ansible-playbook"))
        argv = [program, "-i", str(lab.cluster.source), str(path)]
        run(argv, lab.folder, environment)  # lays the files down
        began = time.perf_counter()
        run(argv, lab.folder, environment)
    return time.perf_counter() - began


def row(what: str, seconds: float, base: float | None = None, note: str = "") -> None:
    """Print one line of the table."""
    ratio = f"{seconds / base:.2f}" if base else ""
    print(f"{what:<42}{seconds:>9.1f}{ratio:>8}  {note}", flush=True)


def measure_first(lab: Lab, *, cached: bool, compare: bool) -> None:
    """Provision bare nodes; the shell script does the same from the same state before."""
    begin = "bare"
    lab.mammoctl("lab", "snapshot", begin, "--name", NAME)
    if cached:
        lab.provision()
        packages = {name: capture(lab, name) for name in lab.names}
        lab.mammoctl("lab", "restore", begin, "--name", NAME)
        wait([lab.start(name, DOWNLOAD, packages[name]) for name in lab.names])
        begin = "cached"
        lab.mammoctl("lab", "snapshot", begin, "--name", NAME)
    seconds, said = lab.provision()
    roles = said["roles"]
    assert isinstance(roles, dict)
    told = ", ".join(f"{role} {spent:.0f}" for role, spent in roles.items())
    what = f"{len(lab.names)} bare nodes{', packages cached' if cached else ''}"
    base = None
    if compare:
        captured = {name: capture(lab, name) for name in lab.names}
        lab.mammoctl("lab", "snapshot", "done", "--name", NAME)
        lab.mammoctl("lab", "restore", begin, "--name", NAME)
        base = shell(lab, captured, str(said["bundle"]))
        row(f"{what}: shell script", base)
        lab.mammoctl("lab", "restore", "done", "--name", NAME)
    row(f"{what}: provision", seconds, base, told)


def measure_second(lab: Lab) -> None:
    """Provision what is provisioned, against as many bare tasks."""
    lab.provision()  # after a restored snapshot the services have just started
    _, said = lab.provision(verbosity=3)
    log = Path(str(said["log"])).read_text(encoding="utf-8", errors="replace")
    calls = max(Counter(REMOTE_EXECUTION.findall(log)).values())
    base = bare_tasks(lab, calls)
    seconds, said = lab.provision()
    changed = said["changed"]
    assert isinstance(changed, list)
    what = f"{len(lab.names)} nodes"
    row(f"{what}: {calls} bare stat and copy tasks", base)
    note = f"{len(changed)} changed, at most {calls} module calls a node"
    row(f"{what}: second provision", seconds, base, note)


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description="Measure what provisioning costs (see the file).")
    parser.add_argument("--nodes", default="3", help="comma-separated numbers of nodes")
    parser.add_argument("--cached", action="store_true", help="Debian packages are on the nodes")
    parser.add_argument("--second-only", action="store_true", help="no shell script")
    chosen = parser.parse_args()
    print(f"{'what':<42}{'seconds':>9}{'ratio':>8}")
    for nodes in map(int, chosen.nodes.split(",")):
        with tempfile.TemporaryDirectory(prefix="mammoctl-bench-") as text:
            lab = Lab(nodes, Path(text))
            try:
                with ssh_config(lab.cluster) as lab.config:
                    measure_first(lab, cached=chosen.cached, compare=not chosen.second_only)
                    measure_second(lab)
            finally:
                lab.mammoctl("lab", "down", "--name", NAME)


if __name__ == "__main__":
    main()
