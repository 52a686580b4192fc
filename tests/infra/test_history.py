"""The history server: it runs, answers the cluster only, and knows the job that has just ended."""

import time

import pytest
from infra_support import CheckFailed, expect

PATIENCE = 40  # seconds; it looks every five, and this machine may be busy


@pytest.fixture
def port(master):
    found = master.record["master"].get("history_port")
    if not found:
        pytest.skip("this cluster has no history server (spark_history: false)")
    return found


def test_history(master, port):
    """The history server runs, also after a reboot."""
    end = time.monotonic() + PATIENCE
    # It ends and starts again until HDFS is there.
    while master.host.run("systemctl is-active spark-history").stdout.strip() == "activating":
        if time.monotonic() > end:
            break
        time.sleep(1)
    master.expect_service("spark-history")


def test_address(master, port):
    """It listens on the node's own address."""
    found = {entry["address"] for entry in master.listeners(port)}
    expect(found == {master.address}, f"port {port} is open on {', '.join(sorted(found)) or '-'}")


def test_ended_job(master, port, background):
    """The job of these checks is among those that have ended."""
    job = background["job"].result()
    expect(job["rc"] == 0, "the job did not succeed", "see the check of the job itself")
    url = f"http://{master.address}:{port}/api/v1/applications/{job['application']}"
    end = time.monotonic() + PATIENCE
    while True:
        try:
            attempts = master.get_json(url)["attempts"]
            if attempts[-1]["completed"]:
                return
            seen = "says that it still runs"
        except CheckFailed as exc:
            seen = f"does not know it: {exc.seen[-150:]}"
        if time.monotonic() > end:
            break
        time.sleep(1)
    expect(
        False,
        f"the history server {seen}",
        f"on {master.name}: sudo journalctl -u spark-history",
    )
