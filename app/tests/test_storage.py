"""What is kept beside the features, and what is read of the data set, on `local[2]`."""

import uuid
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mammotrain.cache import FeatureKey, missing_of, read_features
from mammotrain.events import Progress
from mammotrain.features import ARROW, first_pixels, sample_pixels
from mammotrain.storage import Storage
from packing import pack, row, rows

pytest.importorskip("pyspark")
pytestmark = pytest.mark.spark
KEY = FeatureKey("vgg16", "avg", 32, "a" * 64, 1)


@pytest.fixture(scope="module")
def spark(local_spark):
    from mammotrain.session import start, stop

    session = start(Progress())
    yield session
    stop(session)


def test_a_file_is_there_at_any_moment_of_its_replacement(spark, tmp_path, monkeypatch):
    storage, file = Storage(spark), tmp_path / "f" / "job.npz"
    assert storage.read_bytes(str(file)) is None
    storage.write_bytes(str(file), b"one")
    real = storage._path

    class Dying:
        """A file system whose client dies before the new file gets its name."""

        def __init__(self, system):
            self._system = system

        def rename(self, source, target):
            if str(source).endswith(".part"):
                raise KeyboardInterrupt
            return self._system.rename(source, target)

        def __getattr__(self, name):
            return getattr(self._system, name)

    monkeypatch.setattr(storage, "_path", lambda uri: (Dying(real(uri)[0]), real(uri)[1]))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            storage.write_bytes(str(file), b"two")
        assert Storage(spark).read_bytes(str(file)) == b"one"
    monkeypatch.undo()
    storage.write_bytes(str(file), b"three")
    assert storage.read_bytes(str(file)) == b"three"
    storage.remove(str(file))
    assert storage.read_bytes(str(file)) is None


def cached(folder, *found):
    """Write a run of the cache: checksum, and vector or reason."""
    run = folder / uuid.uuid4().hex
    run.mkdir(parents=True)
    lines = [
        {
            **{"sha256": name, "node": "n", "task": 0, "seconds": 1.0, "rss_mb": 1.0},
            **{"features": value if isinstance(value, list) else None, "warnings": []},
            "reason": value if isinstance(value, str) else None,
        }
        for name, value in found
    ]
    pq.write_table(pa.Table.from_pylist(lines, schema=ARROW), run / "part-0.parquet")


def test_what_was_rejected_for_good_is_not_computed_again(spark, tmp_path):
    cached(
        tmp_path,
        ("a", "truncated or damaged"),
        ("b", "too large for the memory there is"),
        ("c", "content does not match its checksum"),
        ("d", "too large for the memory there is"),
        ("e", [1.0, 2.0]),
    )
    cached(tmp_path, ("d", [3.0, 4.0]))  # of a run on larger nodes
    wanted = spark.createDataFrame([(name,) for name in "abcdef"], "sha256 string")
    known = read_features(spark, str(tmp_path), wanted, 2)
    assert set(known.vectors) == {"d", "e"}
    assert set(known.rejects) == {"a", "b", "c"}
    assert missing_of(known, "abcdef") == ["b", "c", "f"]


def test_samples_are_the_first_good_images_and_no_file_is_sent_to_another_task(spark, tmp_path):
    bad = [row(f"bad-{n}", "p", "benign", b"nothing %d" % n, "png") for n in range(20)]
    frame = spark.read.parquet(str(pack(tmp_path, bad + rows()) / "part-00000.parquet"))
    plan = first_pixels(frame, KEY, 4)._jdf.queryExecution().executedPlan().toString()
    assert plan.index("CollectLimit") < plan.index("MapInArrow")
    assert "Exchange" not in plan
    usable = {one["image_id"] for one in rows()} - {"img000-0"}
    pixels, names = sample_pixels(spark, frame, replace(KEY, fit="crop"), 4, usable)
    assert pixels.shape == (4, 32, 32, 3)
    assert names == ["img000-1", "img001-0", "img001-1", "img002-0"]
