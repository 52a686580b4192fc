"""The command line as a whole: errors become exit codes, help stays light."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mammoctl import cli, errors


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (errors.UsageError("no", hint="do"), 2),
        (errors.InventoryError("no"), 2),
        (errors.LabError("no"), 1),
        (errors.JobError("no"), 125),
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device", "/x"), 1),
        (NotADirectoryError(20, "Not a directory", "/x/y"), 1),
    ],
)
def test_errors_become_exit_codes_without_a_traceback(
    exc: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise exc

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error:" in shown.err
    assert "Traceback" not in shown.err


def test_help_imports_nothing_heavy() -> None:
    heavy = ["ansible", "paramiko", "fabric", "pyarrow", "numpy", "pydicom", "pytest", "httpx"]
    heavy += ["rich", "pygments", "pydantic", "yaml"]
    code = (
        "import sys; from typer.testing import CliRunner; from mammoctl.cli import app;"
        "r = CliRunner().invoke(app, ['--help']); assert r.exit_code == 0, r.output;"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_explains_itself() -> None:
    from typer.main import get_command
    from typer.testing import CliRunner

    def walk(command: object, path: list[str]) -> list[list[str]]:
        children = getattr(command, "commands", {})
        return [path, *(p for name, c in children.items() for p in walk(c, [*path, name]))]

    paths = walk(get_command(cli.app), [])
    assert len(paths) > 10
    for path in paths:
        done = CliRunner().invoke(cli.app, [*path, "--help"])
        assert done.exit_code == 0, path
        first = done.output.strip().splitlines()
        assert len([line for line in first if line.strip()]) > 2, path
