"""The module that replaces one secret setting and leaves everything else as it is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from rendering import ROOT

TEXT = """# Made by mammoctl
spark.authenticate                         true
spark.authenticate.secret                  old
spark.authenticate.secretive               kept
spark.executor.memory 1g
"""


@pytest.fixture
def setting(plugin):
    return plugin("modules", "mammoctl_setting")


def test_only_that_setting_is_replaced(setting):
    after = setting.replaced(TEXT, "spark.authenticate.secret", "new")
    assert after == TEXT.replace("  old\n", "  new\n")
    assert setting.replaced("nothing\n", "spark.authenticate.secret", "new") is None
    # what a pattern's replacement would take for a group
    assert "secret                  \\1\\g<0>\n" in setting.replaced(
        TEXT, "spark.authenticate.secret", "\\1\\g<0>"
    )


def test_what_the_template_writes_is_what_the_module_replaces(setting, render):
    before = render("spark", "spark-defaults.conf.j2")
    after = setting.replaced(before, "spark.authenticate.secret", "new")
    assert after == render("spark", "spark-defaults.conf.j2", _spark_secret="new")


PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import mammoctl_setting
from ansible.module_utils.testing import patch_module_args
with patch_module_args(json.load(sys.stdin)):
    mammoctl_setting.main()
"""


def run(tmp_path, *, check=False, **arguments):
    """Run the module for real; its value is never told."""
    wanted = {
        "name": "spark.authenticate.secret", "value": "n3w-value",
        "files": [f"{tmp_path}/etc/settings", f"{tmp_path}/previous/*"],
        "required": [f"{tmp_path}/etc/settings"], "_ansible_check_mode": check,
    } | arguments  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "playbooks/plugins/modules")],
        input=json.dumps(wanted), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "n3w-value" not in done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def laid(tmp_path):
    for folder in ("etc", "previous"):
        (tmp_path / folder).mkdir()
    for path in ("etc/settings", "previous/3"):
        (tmp_path / path).write_text(TEXT)
        (tmp_path / path).chmod(0o640)
    (tmp_path / "previous" / "4").write_text("another file\n")
    return tmp_path


def test_it_is_replaced_everywhere_with_mode_kept_and_no_value_told(laid):
    predicted = run(laid, check=True)
    assert predicted["changed"]
    assert (laid / "etc/settings").read_text() == TEXT
    said = run(laid)
    assert said["paths"] == predicted["paths"] == [f"{laid}/etc/settings", f"{laid}/previous/3"]
    assert "  old" not in json.dumps(said["diff"])
    assert "n3w-value" in (laid / "previous/3").read_text()
    assert (laid / "etc/settings").stat().st_mode & 0o777 == 0o640
    assert (laid / "previous/4").read_text() == "another file\n"
    assert run(laid)["changed"] is False


def test_a_file_that_must_have_it_and_has_not(laid):
    (laid / "etc/settings").write_text("nothing\n")
    said = run(laid)
    assert said["failed"]
    assert "no setting spark.authenticate.secret; has the host been provisioned?" in said["msg"]
    assert (laid / "previous/3").read_text() == TEXT


@pytest.mark.parametrize("value", ["", "two\nlines", " space"])
def test_a_value_that_would_spoil_the_file_is_refused(laid, value):
    said = run(laid, value=value)
    assert "one line" in said["msg"]
    assert (laid / "etc/settings").read_text() == TEXT
