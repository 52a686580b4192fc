"""The lock between two operators, over real connections, with the kernel's own locks."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from mammoctl import lock
from mammoctl.data import claim
from mammoctl.errors import ConnectionFailed, DataError, RemoteError, UsageError
from mammoctl.ssh import Nodes

pytestmark = pytest.mark.programs
RECORD = '{"who": "a@b", "command": "c", "since": 1}'


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch, sudo):
    path = tmp_path / "mammoctl.lock"
    monkeypatch.setattr(lock, "FILE", str(path))
    return path


@pytest.fixture
def nodes(ward):
    with Nodes(ward) as opened:
        yield opened


def until(check, seconds=10.0):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.05)


def test_two_do_not_change_a_cluster_at_the_same_time(nodes, ward):
    assert lock.holder(nodes) is None
    with lock.held(nodes, "provision"):
        held = lock.holder(nodes)
        assert held.command == "provision"
        assert "@" in held.who
        assert abs(held.since - time.time()) < 60
        with (
            Nodes(ward) as other,
            pytest.raises(lock.Locked) as caught,
            lock.held(other, "upgrade", option="-i ward"),
        ):
            pytest.fail("both hold it")
        assert "test is being changed by " in caught.value.message
        assert "(provision, since " in caught.value.message
        assert caught.value.hint.endswith("mammoctl unlock -i ward")
        assert lock.holder(nodes).pid == held.pid  # the attempt has left it alone
    until(lambda: lock.holder(nodes) is None)
    with lock.held(nodes, "upgrade"):
        assert lock.holder(nodes).command == "upgrade"


def test_an_error_lets_it_go(nodes):
    with pytest.raises(RemoteError), lock.held(nodes, "provision"):
        raise RemoteError("no")
    until(lambda: lock.holder(nodes) is None)


def test_of_many_at_once_one_gets_it(ward):
    got, refused = [], []
    everybody = threading.Barrier(4)

    def attempt() -> None:
        with Nodes(ward) as mine:
            try:
                with lock.held(mine, "start"):
                    got.append(1)
                    everybody.wait(30)
            except lock.Locked:
                refused.append(1)
                everybody.wait(30)

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 3)


def test_silence_ends_it(nodes, monkeypatch):
    """A laptop that is closed says nothing any more, and its connection stays open."""
    monkeypatch.setattr(lock, "SILENCE_S", 1)
    monkeypatch.setattr(lock, "_SIGN_S", 3600)
    keeper = lock._Keeper(nodes, lock.FILE, RECORD, Path("/dev/null"))
    assert keeper.take() is None
    assert lock.holder(nodes).who == "a@b"
    until(lambda: lock.holder(nodes) is None)
    keeper.release()


def test_signs_of_life_keep_it(nodes, monkeypatch):
    monkeypatch.setattr(lock, "SILENCE_S", 2)
    monkeypatch.setattr(lock, "_SIGN_S", 0.2)
    with lock.held(nodes, "upgrade"):
        time.sleep(4)
        assert lock.holder(nodes).command == "upgrade"


def test_a_lost_lock_is_taken_again(nodes, monkeypatch):
    monkeypatch.setattr(lock, "_SIGN_S", 0.2)
    with lock.held(nodes, "upgrade"):
        first = lock.holder(nodes).pid
        os.kill(first, signal.SIGKILL)  # as a restart of the master does
        until(lambda: (now := lock.holder(nodes)) is not None and now.pid != first)


def other_takes_it(nodes, first):
    """Let a laptop sleep: its lock ends in silence, and another operator takes it."""
    os.kill(first, signal.SIGKILL)
    keeper = lock._Keeper(nodes, lock.FILE, RECORD, Path("/dev/null"))
    until(lambda: keeper.take() is None)
    return keeper


def test_a_lock_that_somebody_else_took_ends_what_it_protects(nodes, ward, monkeypatch, capsys):
    monkeypatch.setattr(lock, "_SIGN_S", 1)
    with (
        Nodes(ward) as theirs,
        pytest.raises(lock.Locked) as caught,
        lock.held(nodes, "provision"),
    ):
        other = other_takes_it(theirs, lock.holder(nodes).pid)
        time.sleep(30)
        pytest.fail("went on beside the other")
    assert caught.value.message.startswith("the lock was lost, and a@b (c, since ")
    assert "ending this command" in capsys.readouterr().err
    assert lock.holder(nodes).who == "a@b"
    other.release()


def test_a_lock_that_was_ended_by_hand_is_not_taken_again(nodes, ward, monkeypatch, capsys):
    """A command that hangs may still give signs of life: its lock would come back."""
    monkeypatch.setattr(lock, "_SIGN_S", 0.5)
    with (
        Nodes(ward) as theirs,
        pytest.raises(lock.Locked, match=r"the lock was lost, and .*upgrade"),
        lock.held(nodes, "provision"),
    ):
        lock.end(theirs, lock.holder(theirs))
        time.sleep(2)
        assert lock.holder(theirs) is None
        assert "has ended the lock of this command" in capsys.readouterr().err
        with lock.held(theirs, "upgrade"):
            time.sleep(30)
            pytest.fail("went on beside the other")


def test_who_just_looks_ends_no_command(nodes):
    """To see whether a lock is held is to hold it for a moment."""
    keeper = lock._Keeper(nodes, lock.FILE, RECORD, Path("/dev/null"))
    keeper._lose_to(lock.parse(""))
    assert keeper.lost_to is None


def test_after_a_sleep_the_lock_is_taken_anew(nodes, monkeypatch):
    """Its connection may seem alive for long although the other end let go."""
    monkeypatch.setattr(lock, "_SIGN_S", 0.2)
    with lock.held(nodes, "upgrade"):
        first = lock.holder(nodes).pid
        now = time.time
        monkeypatch.setattr(lock.time, "time", lambda: now() + 3600)
        until(lambda: (seen := lock.holder(nodes)) is not None and seen.pid != first)


def test_a_data_set_is_claimed_by_one_and_free_after_a_minute_of_silence(
    nodes, ward, tmp_path, monkeypatch
):
    monkeypatch.setattr(claim, "FOLDER", str(tmp_path))
    with Nodes(ward) as other:
        with claim.claimed(nodes, "a"):
            with claim.claimed(other, "b"):
                pass
            with (
                pytest.raises(DataError, match="the data set a is being changed by "),
                claim.claimed(other, "a"),
            ):
                pytest.fail("both have it")
        monkeypatch.setattr(lock, "SILENCE_S", 1)
        monkeypatch.setattr(lock, "_SIGN_S", 3600)
        with claim.claimed(nodes, "a"):  # a connection that is open and says nothing
            time.sleep(2)
            with claim.claimed(other, "a"):
                pass


def test_unlock_ends_it(nodes, command, monkeypatch):
    monkeypatch.setattr(lock, "_SIGN_S", 3600)  # it hangs
    assert "nobody holds a lock" in command("unlock").stdout
    with lock.held(nodes, "provision"):
        refused = command("unlock")  # nobody to ask
        assert isinstance(refused.exception, UsageError)
        assert lock.holder(nodes)
        done = command("unlock", "--yes")
        assert done.stdout == "test: the lock is ended\n"
        assert "(provision, since " in done.stderr
        assert lock.holder(nodes) is None


def test_a_lock_that_cannot_be_read_belongs_to_somebody():
    for text in ("", "{", '{"by": 1}', '{"pid": 1}'):
        assert lock.parse(text).who == "somebody"


def test_a_master_that_does_not_answer_keeps_nobody_from_work(ward, make_cluster, monkeypatch):
    def refuse(_self):
        raise ConnectionFailed("gone")

    monkeypatch.setattr(lock._Keeper, "take", refuse)
    with Nodes(ward) as nodes, lock.held(nodes, "stop"):
        done = True
    assert done


def test_a_file_that_cannot_be_made_is_told(nodes, monkeypatch):
    monkeypatch.setattr(lock, "FILE", "/proc/none/lock")
    with pytest.raises(RemoteError, match="cannot lock /proc/none/lock"), lock.held(nodes, "stop"):
        pytest.fail("not held")
