"""docs/tutorial.md, run as it stands: every block for the lab, in order, in one shell."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .command import Cli
from .conftest import REPO
from .page import Block, blocks, said, script

pytestmark = [pytest.mark.lab, pytest.mark.slow]

PAGE = REPO / "docs" / "tutorial.md"
LAB = "tutorial"  # as the page calls it
MARK = "@@@ line"
LONGEST_S = 3600


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return an empty folder; no lab of the page's is there before, and none is left after."""
    folder = tmp_path_factory.mktemp("tutorial")
    cli = Cli(folder)
    cli("lab", "down", "--name", LAB)
    yield folder
    # what the page writes beside the lab's record lies one folder further down
    below = folder / "mammoctl-tutorial"
    Cli(below if below.is_dir() else folder)("lab", "down", "--name", LAB)


@pytest.fixture(scope="module")
def told(place: Path) -> dict[int, tuple[Block, str]]:
    """Run the page; return what each block said on standard output, by its line."""
    parts = [block for block in blocks(PAGE.read_text()) if block.info == ("sh", "lab")]
    programs = place / "bin"
    programs.mkdir()
    # the tests are root already, and there may be no sudo
    (programs / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (programs / "sudo").chmod(0o755)
    env = {k: v for k, v in os.environ.items() if k != "MAMMOCTL_INVENTORY"}
    env["PATH"] = f"{programs}:{Path(sys.executable).parent}:{env['PATH']}"
    bash = shutil.which("bash")
    assert bash
    with subprocess.Popen(
        [bash, "-c", script(parts, MARK)],
        cwd=place,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            stdout, stderr = process.communicate()
            pytest.fail(f"over {LONGEST_S} s\n{stdout[-3000:]}\n{stderr[-3000:]}")
    assert "Traceback" not in stdout + stderr, stderr[-6000:]
    reached = re.findall(rf"^{MARK} (\d+)$", stdout, flags=re.MULTILINE)
    assert process.returncode == 0, (
        f"the block at line {reached[-1]} of {PAGE.name} ended with {process.returncode}\n"
        f"{stdout[-3000:]}\n{stderr[-6000:]}"
    )
    outputs = said(stdout, MARK)
    return {part.line: (part, outputs[part.line]) for part in parts}


def output_of(told: dict[int, tuple[Block, str]], command: str) -> str:
    """Return what the block said that has a command."""
    (found,) = [text for block, text in told.values() if command in block.text]
    return found


def test_every_block_runs(told: dict[int, tuple[Block, str]]) -> None:
    assert len(told) >= 7
    assert "all is well" in output_of(told, "mammoctl status")
    assert "phantoms" in output_of(told, "mammoctl data list")


def test_it_ends_with_a_model_and_predictions(
    told: dict[int, tuple[Block, str]], place: Path
) -> None:
    listed = output_of(told, "mammoctl submit").split()
    assert {"model.keras", "metrics.json", "report.html"} <= set(listed)
    assert "succeeded" in output_of(told, "mammoctl jobs list")
    work = place / "mammoctl-tutorial"
    with (work / "results" / "latest" / "predictions_by_file.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12
    assert all(0 <= float(row["score"]) <= 1 for row in rows)
    assert {row["file"] for row in rows} == {
        str(path.relative_to(work / "new"))
        for path in (work / "new").rglob("phantom*")
        if path.suffix in (".dcm", ".png")
    }
    assert "score" in output_of(told, "mammoctl predict")


def test_nothing_of_the_lab_is_left(told: dict[int, tuple[Block, str]], place: Path) -> None:
    gone = Cli(place / "mammoctl-tutorial")("lab", "status", "--name", LAB, rc=None)
    assert gone.rc != 0
    assert not (Path("/var/lib/mammoctl/labs") / LAB).exists() or "MAMMOCTL_LAB_DIR" in os.environ
