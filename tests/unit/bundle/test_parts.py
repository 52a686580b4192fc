"""The parts of a bundle have one interface; the record keeps what was chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mammoctl import files
from mammoctl.bundle import parts, sources
from mammoctl.bundle.fetch import Job
from mammoctl.bundle.model import Bundle, Target, from_json, to_json
from mammoctl.bundle.sources import Sources
from mammoctl.bundle.store import Store

# Chooses everything that a bundle may have.
CHOSEN = Sources(
    interpreter="managed", spark_sha512="a" * 128, spark_url="https://mirror/spark.tgz"
)
TARGET = Target("3.11", "x86_64", ("cpu", "gpu"), CHOSEN)


def test_every_kind_is_there_once() -> None:
    kinds = [part.KIND for part in parts.PARTS]
    assert len(kinds) == len(set(kinds))
    assert not {"wheel", "requirements"} & set(kinds)


@pytest.mark.parametrize("part", parts.PARTS, ids=lambda part: str(part.KIND))
def test_a_part_that_the_store_lacks_has_a_job(
    part: parts.Part, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert part.variants(TARGET)
    assert set(part.variants(TARGET)) <= {"cpu", "gpu"}
    assert part.stored(store, TARGET) is None
    job = part.job(store, TARGET)
    assert isinstance(job, Job)
    assert job.title
    assert job.size > 0


@pytest.mark.parametrize("chosen", [Sources(), CHOSEN])
def test_the_record_keeps_the_choices(chosen: Sources, tmp_path: Path) -> None:
    target = Target("3.11", "x86_64", ("cpu",), chosen)
    path = tmp_path / "bundle.json"
    bundle = Bundle("0" * 16, path, tmp_path, target, {}, ())
    record = to_json(bundle)
    assert ("sources" in record["target"]) == (chosen != Sources())
    files.write(path, json.dumps(record))
    assert from_json(path).target == target
    assert sources.from_json(sources.to_json(chosen)) == chosen
