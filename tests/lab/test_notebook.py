"""JupyterLab on the master, with a session of the cluster in a kernel, through the tunnel."""

from __future__ import annotations

import json
import shlex
import signal
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest

from .own_lab import OwnLab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

CELL = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print(spark.sparkContext.master, spark.range(100).selectExpr("sum(id)").first()[0])
"""
# What the page in the browser does: open the kernel's channel and have a cell run.
CLIENT = """
import asyncio, json, sys, uuid
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

port, token, kernel, code = sys.argv[1:]

async def main():
    request = HTTPRequest(
        f"ws://127.0.0.1:{port}/api/kernels/{kernel}/channels",
        headers={"Authorization": f"token {token}"},
    )
    channel = await websocket_connect(request)
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": "s",
              "username": "u", "version": "5.3", "date": ""}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {},
               "allow_stdin": False, "stop_on_error": True}
    await channel.write_message(json.dumps(
        {"header": header, "parent_header": {}, "metadata": {}, "content": content,
         "channel": "shell", "buffers": []}))
    while True:
        message = json.loads(await channel.read_message())
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            print(message["content"]["text"], end="")
        if message["msg_type"] == "error":
            sys.exit("\\n".join(message["content"]["traceback"]))
        if message["msg_type"] == "execute_reply":
            return

asyncio.run(asyncio.wait_for(main(), 180))
"""


def test_a_cell_runs_on_the_cluster(own_cluster: OwnLab) -> None:
    lab = own_cluster
    master = lab.nodes[0]
    refused = lab.run("notebook", "--no-browser", rc=2)
    assert 'add "jupyterlab" to python_extra_packages' in refused.stderr
    variables = lab.inventory / "group_vars" / "all.yml"
    variables.write_text(f'{variables.read_text()}python_extra_packages: ["jupyterlab"]\n')
    lab.cli("bundle", "lock", "-i", lab.name, timeout=900)
    lab.run("provision", "--json")

    process = lab.cli.start("notebook", "-i", lab.name, "--json")
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["url"]
        here = urlsplit(url)
        token = here.query.removeprefix("token=")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://{here.netloc}/api/kernels", timeout=30)
        with urllib.request.urlopen(url, timeout=30) as page:  # noqa: S310  our own tunnel
            assert b"<title>JupyterLab</title>" in page.read()
        request = urllib.request.Request(
            f"http://{here.netloc}/api/kernels",
            data=b"{}",
            headers={"Authorization": f"token {token}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  the same
            kernel = json.load(answer)["id"]
        assert token not in lab.on(master, "ps -eo args; journalctl -u mammoctl-notebook")
        listening = lab.on(master, "ss -Htlnp | grep 'python' | awk '{print $4}'")
        assert all(one.startswith("127.0.0.1:") for one in listening.split()), listening
        port = lab.on(
            master,
            "sed -n 's/.*\"port\": \\([0-9]*\\).*/\\1/p'"
            " /var/lib/mammoctl/notebooks/.runtime/jpserver-*.json",
        )
        words = shlex.join(["-c", CLIENT, port, token, kernel, CELL])
        said = lab.on(master, f"/opt/mammoctl/env/bin/python {words}")
        assert said == f"spark://{master}:7077 4950"
        # Whoever comes back finds the same server.
        again = lab.cli.start("notebook", "-i", lab.name, "--json", "--keep")
        assert again.stdout is not None
        assert json.loads(again.stdout.readline())["url"].endswith(f"token={token}")
        again.send_signal(signal.SIGINT)
        assert again.wait(timeout=30) == 0
        assert lab.on(master, "systemctl is-active mammoctl-notebook") == "active"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    assert lab.on(master, "systemctl is-active mammoctl-notebook", rc=None) == "inactive"
    assert lab.on(master, "pgrep -f '[j]upyterlab'", rc=1) == ""
    lab.run("provision", "--json")
    assert lab.run("verify", "--json").json()["ok"]
