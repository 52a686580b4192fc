"""What the module for services says when a unit does not do what it should."""

from __future__ import annotations

import pytest


@pytest.fixture
def service(plugin):
    return plugin("modules", "mammoctl_service")


@pytest.fixture
def units(service, ansible_module):
    """Return the units of a node whose systemctl answers as told: verb -> (status, error)."""

    def make(properties="", **answers):
        module = ansible_module()

        def run(command, **_rest):
            if command[0] == "journalctl":
                return 0, f"the last words of {command[2]}\n", ""
            verb = command[2]
            rc, err = answers.get(verb.replace("-", "_"), (0, ""))
            return rc, properties if verb == "show" else "", err

        module.run_command = run
        return service.Units(module)

    return make


UNIT = {"name": "x.service", "files": [], "probe": [], "ready": [], "reload": False}
RUNS = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n"


@pytest.mark.parametrize("for_good", [False, True])
def test_a_unit_that_does_not_stop_is_not_said_not_to_start(units, for_good):
    verb = "disable" if for_good else "stop"
    with pytest.raises(
        AssertionError, match=r"x\.service did not stop: systemctl .*timed out"
    ) as e:
        units(RUNS, **{verb: (1, "timed out")}).stop(UNIT, for_good=for_good)
    assert "the last words of x.service" in str(e.value)


def test_a_unit_that_does_not_start_tells_its_last_words(units):
    with pytest.raises(AssertionError, match=r"x\.service did not start: .*no such user") as caught:
        units("LoadState=loaded\nActiveState=inactive\n", start=(1, "no such user")).start(
            {**UNIT, "check_changed": False}
        )
    assert "the last words of x.service" in str(caught.value)


def test_a_manager_that_does_not_reload_is_no_unit(units):
    with pytest.raises(AssertionError, match="systemd does not read its units anew: bad") as caught:
        units("LoadState=not-found\n", daemon_reload=(1, "bad")).start(
            {**UNIT, "check_changed": False}
        )
    assert "last words" not in str(caught.value)


def test_a_unit_without_ports_that_hangs_is_told_as_that(units):
    with pytest.raises(AssertionError, match=r"did not start: it is still activating"):
        units("ActiveState=activating\n").wait(UNIT, deadline=0)
    with pytest.raises(AssertionError, match=r"nothing answers on 127\.0\.0\.1:9 in time"):
        units("ActiveState=active\n").wait({**UNIT, "ready": ["127.0.0.1:9"]}, deadline=0)
