"""Role cuda: the driver lists every GPU, at every boot, and Spark is told of each."""

import json

import pytest
from infra_support import expect, setting


@pytest.fixture
def gpus(node):
    """The number of GPUs that the node is to use; the check is skipped where there are none."""
    return _used(node)


def _used(node):
    found = node.state["gpus"]
    if not found:
        pytest.skip("no NVIDIA GPU on the PCI bus")
    if node.record["tensorflow_variant"].get(node.name) != "gpu":
        pytest.skip("its GPUs are left alone (cuda_install: never)")
    return found


def test_driver(node, gpus):
    """The driver lists every GPU of the PCI bus."""
    listed = node.text(
        "nvidia-smi --query-gpu=index --format=csv,noheader",
        mend=f"on {node.name}: sudo dmesg | grep -i nvrm; then run `mammoctl provision` again",
    )
    count = len(listed.split())
    expect(count == gpus, f"the driver lists {count} of {gpus} GPUs")


def test_ready(node, gpus):
    """The GPUs are made ready at every boot."""
    node.expect_service("mammoctl-gpu")


def test_discovery(worker, master):
    """Spark finds every GPU of the worker, and the worker has registered with them."""
    wanted = _used(worker)
    user = setting(worker, "spark_user")
    told = json.loads(worker.text(f"runuser -u {user} -- /opt/mammoctl/bin/gpu-discovery"))
    found = len(told["addresses"])
    expect(found == wanted, f"the user {user} finds {found} of {wanted} GPUs")
    port = master.record["master"]["ui_port"]
    state = master.get_json(f"http://{master.record['master']['host']}:{port}/json/")
    registered = [
        len(entry.get("resources", {}).get("gpu", {}).get("addresses", []))
        for entry in state["workers"]
        if entry["host"] == worker.name and entry["state"] == "ALIVE"
    ]
    expect(
        registered == [wanted],
        f"registered with {registered or 'no'} GPUs instead of {wanted}",
        f"on {worker.name}: sudo systemctl restart spark-worker; its log says why not",
    )
