"""Hosts that are set up as people set them up: nothing to mend, and nothing may go wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .command import Cli
from .own_lab import OwnLab, own_lab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LAB, SUBNET = "mmhard", "10.213.11.0/24"
PASSWORD = "correct horse battery"

# A Java of another version that everybody finds first. It runs what Debian's own packages ask of it
# when they are installed, as every Java from 8 on does, and nothing of ours.
OTHER_JAVA = """
mkdir -p /usr/lib/jvm/java-11-other/bin
cat > /usr/lib/jvm/java-11-other/bin/java <<'END'
#!/bin/sh
echo 'openjdk version "11.0.2" 2019-01-15' >&2
case "$*" in -version | *ca-certificates-java*) exit 0 ;; esac
echo 'java.lang.UnsupportedClassVersionError: class file version 61.0' >&2
exit 1
END
chmod 755 /usr/lib/jvm/java-11-other/bin/java
update-alternatives --quiet --install /usr/bin/java java /usr/lib/jvm/java-11-other/bin/java 1
update-alternatives --quiet --set java /usr/lib/jvm/java-11-other/bin/java
echo JAVA_HOME=/usr/lib/jvm/java-11-other >> /etc/environment
"""

STRICT_UMASK = """
sed -i 's/^UMASK.*/UMASK 077/' /etc/login.defs
echo 'session optional pam_umask.so umask=077' >> /etc/pam.d/common-session
echo 'session optional pam_umask.so umask=077' >> /etc/pam.d/common-session-noninteractive
echo 'umask 077' > /etc/profile.d/strict.sh
"""

GERMAN = """
apt-get -q update
DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends locales fish
echo 'de_DE.UTF-8 UTF-8' > /etc/locale.gen
locale-gen
printf 'LANG=de_DE.UTF-8\\nLC_ALL=de_DE.UTF-8\\n' | tee /etc/default/locale >> /etc/environment
"""

NO_EXEC = """
cat > /etc/systemd/system/tmp.mount <<'END'
[Mount]
What=tmpfs
Where=/tmp
Type=tmpfs
Options=mode=1777,noexec,nosuid,nodev
[Install]
WantedBy=local-fs.target
END
systemctl daemon-reload
systemctl enable --now tmp.mount
findmnt -n -o OPTIONS /tmp | grep -q noexec
"""


@dataclass
class Site:
    """The lab, and the inventory by which it is reached: over a jump host, on another port."""

    lab: OwnLab
    inventory: Path

    def run(self, *args: str, rc: int = 0) -> str:
        verb, *rest = args
        return self.lab.cli(verb, "-i", str(self.inventory), *rest, rc=rc, timeout=1500).stdout


@pytest.fixture(scope="module")
def site(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with own_lab(cli, LAB, SUBNET, "--nodes", "3") as lab:
        _one, two, three = lab.nodes
        for node in lab.nodes:
            lab.on(node, GERMAN)
            lab.on(node, OTHER_JAVA)
            lab.on(node, NO_EXEC)
            lab.on(node, STRICT_UMASK)
        lab.on(two, "chsh -s /usr/bin/fish admin")
        lab.on(three, "echo 'Port 22\nPort 2222' > /etc/ssh/sshd_config.d/port.conf")
        lab.on(three, "systemctl restart ssh")
        inventory = _inventory(lab, tmp_path_factory.mktemp("hard") / "hard")
        with lab.asking(three, PASSWORD):
            yield Site(lab, inventory)


def _inventory(lab: OwnLab, folder: Path) -> Path:
    """Write the inventory: the second node behind the first, the third on another port."""
    shutil.copytree(lab.inventory, folder)
    one, two, three = lab.nodes
    nodes = lab.cli("lab", "status", "--name", lab.name, "--json").json()["nodes"]
    address = {node["name"]: node["address"] for node in nodes}
    hosts = folder / "host_vars"
    hosts.mkdir()
    (hosts / f"{two}.yml").write_text(
        "ansible_ssh_common_args: >-\n"
        "  -o UserKnownHostsFile={{ inventory_dir }}/known_hosts\n"
        "  -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes\n"
        f"  -o ProxyJump=admin@{address[one]}\n"
    )
    (hosts / f"{three}.yml").write_text(
        f"ansible_port: 2222\nansible_become_password: {PASSWORD}\n"
    )
    known = folder / "known_hosts"
    lines = known.read_text().splitlines()
    key = next(line for line in lines if address[three] in line).split()[1:]
    known.write_text("\n".join([*lines, " ".join([f"[{address[three]}]:2222", *key])]) + "\n")
    # The way that leads past the jump host is closed, that on the usual port too.
    rules = "table inet closed { chain input { type filter hook input priority 0; %s drop; }; }"
    gateway = ".".join([*address[one].split(".")[:3], "1"])
    lab.on(two, "apt-get -q -y install nftables")
    lab.on(two, f"nft '{rules % f'ip saddr {gateway} tcp dport 22'}'")
    return folder


def test_a_difficult_site_is_provisioned_and_verified(site: Site) -> None:
    site.run("provision", "--json")
    again = site.lab.cli("provision", "-i", str(site.inventory), "--json", timeout=600)
    assert again.json()["changed"] == []
    verdict = site.lab.cli("verify", "-i", str(site.inventory), "--json", rc=None, timeout=900)
    checks = verdict.json()
    assert checks["ok"], [check for check in checks["checks"] if check["outcome"] == "failed"]
    log = Path(again.json()["log"]).read_text()
    assert PASSWORD not in log + again.text + verdict.text


def test_the_java_that_was_there_is_left_alone(site: Site) -> None:
    one = site.lab.nodes[0]
    assert "java-11-other" in site.lab.on(one, "readlink -f /usr/bin/java")


def test_what_was_made_can_be_read_by_the_services(site: Site) -> None:
    find = "find /opt/mammoctl /etc/spark /etc/hadoop -xdev -type d ! -perm -0005 -print -quit"
    assert site.lab.on(site.lab.nodes[0], find) == ""
