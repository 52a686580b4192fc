"""`check --security` on a cluster that runs: content with what provisioning left, and not blind."""

from __future__ import annotations

from typing import Any

import pytest

from .own_lab import OwnLab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

SETTINGS = "/etc/spark/spark-defaults.conf"
DROP_IN = "/etc/systemd/system/spark-worker.service.d"
# A service of the cluster that listens where the guard does not look.
LISTENER = (
    "systemd-run --unit=mammoctl-job-listener python3 -m http.server 9999 --directory /var/empty"
)


def differences(lab: OwnLab, *, rc: int) -> dict[str, list[str]]:
    """Return what is told of each host; the empty name is this machine."""
    report: Any = lab.run("check", "--security", "--json", rc=rc).json()
    assert report["ok"] == (rc == 0)
    told: dict[str, list[str]] = {}
    for one in report["findings"]:
        if one["grave"]:
            assert one["mend"], one
            told.setdefault(one["host"], []).append(one["seen"])
    return told


def test_what_was_provisioned_is_as_documented(own_cluster: OwnLab) -> None:
    assert differences(own_cluster, rc=0) == {}


def test_every_difference_is_found_and_provision_mends_the_nodes(own_cluster: OwnLab) -> None:
    lab = own_cluster
    first, second, third = lab.nodes
    secret = lab.inventory / "secrets" / "spark_auth_secret"
    secret.chmod(0o644)
    lab.on(first, f"chmod 644 {SETTINGS}; mkdir -p /var/empty; {LISTENER}")
    lab.on(
        second,
        f"mkdir -p {DROP_IN}; printf '[Service]\\nProtectSystem=no\\nNoNewPrivileges=no\\n'"
        f" > {DROP_IN}/weaker.conf; systemctl daemon-reload",
    )
    lab.on(third, "nft delete table inet mammoctl; usermod --shell /bin/sh spark")
    told = differences(lab, rc=1)
    assert set(told) == {"", first, second, third}
    assert any(str(secret) in text and "0644" in text for text in told[""])
    assert any(SETTINGS in text and "0640 at most" in text for text in told[first])
    assert any("port 9999" in text and "not guarded" in text for text in told[first])
    assert any("ProtectSystem=no" in text for text in told[second])
    assert "the guard is not loaded" in told[third]
    assert any("the account spark has a shell" in text for text in told[third])

    secret.chmod(0o600)
    lab.on(first, "systemctl stop mammoctl-job-listener")
    lab.on(second, f"rm -r {DROP_IN}; systemctl daemon-reload")
    lab.run("provision", "--json")
    assert differences(lab, rc=0) == {}
