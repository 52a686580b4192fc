"""What the guard refuses is in the kernel's log; without a log there is a guard all the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from rendering import ROLES

from mammoctl.check import security

NODE = {"listening": [{"port": 7077, "unit": "spark-master.service", "address": "10.0.0.2"}]}


def test_the_rules_themselves_ask_for_no_log(render):
    assert "log prefix" not in render("guard", "guard.nft.j2")
    assert 'log prefix "mammoctl-guard "' in render("guard", "guard-log.nft.j2")
    assert "limit rate" in render("guard", "guard-log.nft.j2"), "a flood must not fill the log"


@pytest.mark.parametrize("on", [True, False])
def test_nothing_is_dropped_without_having_been_told(render, on):
    text = render("guard", "guard.nft.j2", mammoctl_wireguard=on)
    lines = [line.strip() for line in text.splitlines()]
    drops = [number for number, line in enumerate(lines) if line.endswith("counter drop")]
    assert len(drops) == (3 if on else 1)
    for number in drops:
        match = lines[number].removesuffix("counter drop")
        assert lines[number - 1] == f"{match}jump refused"


def test_the_log_is_laid_down_loaded_behind_the_rules_and_may_fail(render):
    lines = render("guard", "mammoctl-guard.service.j2").splitlines()
    for action in ("ExecStart=", "ExecReload="):
        rules = lines.index(f"{action}/usr/sbin/nft --file /etc/mammoctl/guard.nft")
        log = action.replace("ExecStart=", "ExecStartPost=")
        assert lines[rules + 1] == f"{log}-/usr/sbin/nft --file /etc/mammoctl/guard-log.nft"
    for part in ("configure", "service"):
        assert "/etc/mammoctl/guard-log.nft" in (ROLES / f"guard/tasks/{part}.yml").read_text()


@pytest.mark.programs
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")
@pytest.mark.parametrize("on", [True, False])
def test_nft_takes_both_and_the_check_finds_the_guard_whole(render, tmp_path: Path, on):
    for name in ("guard", "guard-log"):
        text = render("guard", f"{name}.nft.j2", mammoctl_wireguard=on)
        (tmp_path / f"{name}.nft").write_text(text)
    load = "nft --file guard.nft && nft --file guard-log.nft"
    line = f"{load} && {load} && nft -j list table inet mammoctl"
    argv = ["unshare", "--net", "sh", "-c", line]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = {**NODE, "guard": json.loads(done.stdout)["nftables"]}
    assert list(security._guard(seen, set())) == []
    logs = [rule for one in seen["guard"] for rule in one.get("rule", {}).get("expr", [])]
    assert [rule["log"]["prefix"] for rule in logs if "log" in rule] == ["mammoctl-guard "]
    assert security._closes_beside(seen["guard"], "mammoctl0") is on
