"""Fetching through clients: grouping, running several at once, and what goes wrong."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mammoctl.bundle import clients, fetch, maven
from mammoctl.bundle.fetch import Job, batches, run_jobs
from mammoctl.bundle.locks import Pin
from mammoctl.bundle.process import Runner, Stopped
from mammoctl.bundle.store import Store
from mammoctl.errors import BundleError

_EMPTY_SUM = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def _pin(name: str, size: int = 1) -> Pin:
    return Pin(name, "1", _EMPTY_SUM, f"{name}-1-py3-none-any.whl", size)


def test_large_files_go_alone_and_first() -> None:
    pins = [_pin("small", 5), _pin("large", 30_000_000), _pin("larger", 90_000_000), _pin("tiny")]
    groups = [[pin.name for pin in group] for group in batches(pins)]
    assert groups == [["larger"], ["large"], ["small", "tiny"]]


def test_no_pin_is_lost_in_grouping() -> None:
    pins = [_pin(f"p{n}", n * 700_000) for n in range(60)]
    groups = batches(pins)
    assert sorted(p.name for g in groups for p in g) == sorted(p.name for p in pins)
    assert max(len(group) for group in groups) <= 16
    assert batches([]) == []


def _fake_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str) -> Path:
    """Let a script stand in for pip; it finds its destination in ``dest``."""
    script = tmp_path / "pip.py"
    log = tmp_path / "calls"
    script.write_text(
        "import os, sys, pathlib\n"
        f"log = pathlib.Path({str(log)!r})\n"
        "calls = len(log.read_text().splitlines()) if log.exists() else 0\n"
        "log.open('a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        "dest = pathlib.Path(sys.argv[sys.argv.index('--dest') + 1])\n"
        "dest.mkdir(exist_ok=True)\n" + body
    )
    monkeypatch.setattr(fetch, "pip_argv", lambda: [sys.executable, "-S", str(script)])
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    return log


def _run(store: Store, pins: list[Pin]) -> None:
    with store.writing() as scratch:
        run_jobs([fetch.wheel_job(store, pins, "3.12", "aarch64")], scratch, show=False)


def test_wheels_are_asked_for_by_hash_and_platform(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = _fake_pip(monkeypatch, tmp_path, "(dest / 'a-1-py3-none-any.whl').touch()\n")
    _run(store, [_pin("a")])
    assert store.get(_EMPTY_SUM) is not None
    (call,) = log.read_text().splitlines()
    for option in (
        "download --quiet --no-deps",
        "--require-hashes --only-binary :all:",
        "--python-version 3.12 --implementation cp",
        "--platform manylinux_2_34_aarch64",
        "--platform manylinux2014_aarch64",
    ):
        assert option in call
    assert "index" not in call


def test_a_changed_file_is_refused_even_if_the_client_took_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_pip(monkeypatch, tmp_path, "(dest / 'a-1-py3-none-any.whl').write_text('evil')\n")
    with pytest.raises(BundleError, match="does not have its pinned checksum"):
        _run(store, [_pin("a")])
    assert store.get(_EMPTY_SUM) is None


def test_a_mismatch_that_the_client_reports_is_not_repeated(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = (
        "print('ERROR: THESE PACKAGES DO NOT MATCH THE HASHES')\n"
        "print('    Expected sha256 aa')\nprint('         Got        bb')\nsys.exit(1)\n"
    )
    log = _fake_pip(monkeypatch, tmp_path, body)
    with pytest.raises(BundleError, match="pinned checksum") as caught:
        _run(store, [_pin("a")])
    assert caught.value.details == ["Expected sha256 aa", "Got        bb"]
    assert len(log.read_text().splitlines()) == 1


def test_a_broken_connection_is_tried_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = (
        "if calls < 2:\n    sys.exit('Connection reset by peer')\n"
        "(dest / 'a-1-py3-none-any.whl').touch()\n"
    )
    log = _fake_pip(monkeypatch, tmp_path, body)
    _run(store, [_pin("a")])
    assert len(log.read_text().splitlines()) == 3


def test_a_dead_network_is_explained(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = _fake_pip(monkeypatch, tmp_path, "sys.exit('Temporary failure in name resolution')\n")
    with pytest.raises(BundleError, match="cannot download a, b: the network") as caught:
        _run(store, [_pin("a"), _pin("b")])
    assert "finished files are kept" in caught.value.hint
    assert len(log.read_text().splitlines()) == 3


def test_a_clients_chatter_is_left_out() -> None:
    output = "\x1b[31m[ERROR] cause\x1b[m\n[ERROR] \n[ERROR] Re-run Maven with -X\n[notice] new pip"
    assert clients.client_error("do it", output).details == ["[ERROR] cause"]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("SSLError(CERTIFICATE_VERIFY_FAILED) Max retries exceeded", "certificate is not trusted"),
        ("java.net.UnknownHostException: there", "unreachable"),
        ("OSError: [Errno 28] No space left on device", "no space left"),
        ("ERROR: No matching distribution found for a==1", "^cannot download a$"),
    ],
)
def test_what_clients_say_is_understood(output: str, message: str) -> None:
    error = clients.client_error("download a", output)
    with pytest.raises(BundleError, match=message):
        raise error
    assert error.hint
    assert error.details == [output]


def test_the_users_index_stays_and_other_settings_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    monkeypatch.setenv("PIP_TARGET", "/somewhere")
    environment = clients.pip_environment()
    assert environment["PIP_INDEX_URL"] == "https://mirror.example/simple"
    assert "PIP_TARGET" not in environment


def test_without_pip_uv_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert clients.pip_argv() == [sys.executable, "-m", "pip"]
    monkeypatch.setattr(clients.importlib.util, "find_spec", lambda name: None)
    assert clients.pip_argv()[1:3] == ["tool", "run"]


def test_one_failure_ends_the_others(tmp_path: Path) -> None:
    started = threading.Event()

    def slow(folder: Path, runner: Runner) -> None:
        started.set()
        runner.run(["sleep", "60"])

    def failing(folder: Path, runner: Runner) -> None:
        started.wait(5)
        raise BundleError("broken")

    before = time.monotonic()
    with pytest.raises(BundleError, match="broken"):
        run_jobs([Job("slow", 1, slow), Job("failing", 1, failing)], tmp_path, show=False)
    assert time.monotonic() - before < 10


def test_finished_jobs_are_told_in_plain_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(fetch.console, "note", notes.append)
    monkeypatch.setattr(fetch.console, "is_interactive", lambda: False)

    def work(folder: Path, runner: Runner) -> None:
        (folder / "part").write_text("x")

    run_jobs([Job("a.whl", 2000, work)], tmp_path, show=True)
    assert notes == ["  1/1 a.whl (2.0 kB)"]


def test_a_stopped_runner_ends_its_programs_and_starts_no_more() -> None:
    runner = Runner()
    outcome: list[object] = []

    def run() -> None:
        try:
            runner.run(["sleep", "60"])
        except Stopped as exc:
            outcome.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.05)
    runner.stop()
    thread.join(timeout=5)
    assert len(outcome) == 1
    with pytest.raises(Stopped):
        runner.run(["true"])


def test_a_program_does_not_outlive_a_killed_mammoctl(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from mammoctl.bundle.process import Runner\n"
        "Runner().run(['sh', '-c', 'echo $$ > pid.new; mv pid.new pid; exec sleep 60'],"
        " cwd=Path(sys.argv[1]))"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    _until((tmp_path / "pid").is_file)
    child = Path("/proc") / (tmp_path / "pid").read_text().strip() / "cmdline"
    assert child.is_file()
    parent.kill()
    parent.wait()
    _until(lambda: not child.is_file() or child.read_bytes() == b"")


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_maven_is_asked_for_before_anything_is_fetched(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(maven.shutil, "which", lambda name: None)
    with pytest.raises(BundleError, match="mvn is needed") as caught:
        maven.jar_job(store, "org.example:thing", "1", _EMPTY_SUM, 0)
    assert caught.value.hint == "sudo apt-get install --no-install-recommends maven"


def test_a_jar_that_maven_has_is_taken_and_checked(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    jar = tmp_path / ".m2" / "repository" / "org" / "example" / "thing" / "1" / "thing-1.jar"
    jar.parent.mkdir(parents=True)
    jar.touch()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    run_jobs([maven.jar_job(store, "org.example:thing", "1", _EMPTY_SUM, 0)], scratch, show=False)
    assert store.get(_EMPTY_SUM) is not None
    assert jar.is_file()
