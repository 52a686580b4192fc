"""A secret's value before is never lost, wherever a rotation is cut off."""

from __future__ import annotations

import itertools
import re
import stat

import pytest
import yaml

from mammoctl import paths, rotation

OLD = "o" * 48 + "\n"


@pytest.fixture
def where(tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    (folder / rotation.SPARK).write_text(OLD)
    (folder / rotation.SPARK).chmod(0o600)
    (folder / "data_hmac").write_text("k")
    return tmp_path


def current(where):
    return (where / "secrets" / rotation.SPARK).read_text()


def before(where):
    return (where / "secrets" / (rotation.SPARK + rotation.BEFORE)).read_text()


def test_a_rotation(where):
    assert rotation.begun(where) == []
    assert rotation.begin(where) is False
    assert re.fullmatch(r"[A-Za-z0-9]{48}\n", current(where))
    assert before(where) == OLD
    assert rotation.begun(where) == [rotation.SPARK]
    for path in (where / "secrets").iterdir():
        if path.name != "data_hmac":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    rotation.finish(where)
    assert rotation.begun(where) == []
    assert sorted(p.name for p in (where / "secrets").iterdir()) == ["data_hmac", rotation.SPARK]
    assert rotation.kept(where) == ["data_hmac"]


def test_repeated_it_goes_on_with_the_value_that_it_made(where):
    rotation.begin(where)
    made = current(where)
    assert rotation.begin(where) is True
    assert current(where) == made
    assert before(where) == OLD
    rotation.finish(where)
    assert rotation.begin(where) is False
    assert current(where) != made
    assert before(where) == made


def test_cut_off_at_any_write_the_value_before_is_there_and_a_repetition_ends_it(
    where, monkeypatch
):
    """The power fails at the first, second, ... replacement of a file."""
    true = rotation.Path.replace
    for deadline in itertools.count():
        monkeypatch.undo()
        rotation.finish(where)
        (where / "secrets" / rotation.SPARK).write_text(OLD)
        calls = []

        def replace(path, target, calls=calls, deadline=deadline):
            if len(calls) == deadline:
                raise KeyboardInterrupt
            calls.append(target)
            return true(path, target)

        monkeypatch.setattr(rotation.Path, "replace", replace)
        try:
            rotation.begin(where)
            break
        except KeyboardInterrupt:
            pass
        monkeypatch.undo()
        kept = [current(where), *([before(where)] if rotation.begun(where) else [])]
        assert OLD in kept
        rotation.begin(where)
        assert before(where) == OLD
        assert current(where) != OLD
        assert not [p for p in (where / "secrets").iterdir() if p.name.startswith(".")]
    assert deadline == 2  # both files were cut off once


def test_a_secret_that_is_not_here_is_made(tmp_path):
    assert rotation.begin(tmp_path) is False
    assert len(current(tmp_path)) == 49
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert rotation.begun(tmp_path) == []


def test_a_link_to_a_safer_place_stays_one(where, tmp_path):
    safe = tmp_path / "safe"
    (where / "secrets" / rotation.SPARK).rename(safe)
    (where / "secrets" / rotation.SPARK).symlink_to(safe)
    rotation.begin(where)
    assert (where / "secrets" / rotation.SPARK).is_symlink()
    assert safe.read_text() != OLD


def test_it_is_made_as_the_role_makes_the_first_one():
    text = (paths.project_root() / "roles/spark/vars/main.yml").read_text()
    known = yaml.safe_load(text)
    wanted = known["_spark_secret_kept"]
    assert f"/secrets/{rotation.SPARK}'" in known["_spark_secret_file"]
    assert "length=48" in wanted
    assert "['ascii_letters', 'digits']" in wanted
    assert rotation._LENGTH == 48


def test_work_that_runs_is_named():
    rotation.refuse_work([])
    with pytest.raises(rotation.Busy) as caught:
        rotation.refuse_work(["job train-1", "application shell"])
    assert caught.value.message.startswith("job train-1, application shell run:")
    assert "--force" in caught.value.hint
