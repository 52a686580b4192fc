from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mammoctl.data import ids
from mammoctl.data.about import About
from mammoctl.data.describe import describe
from mammoctl.data.model import Image, Scan
from mammoctl.data.pack import NO_PATIENT, Packed, pack
from mammoctl.errors import DataError

KEY = b"k" * 32


def images(folder: Path, count: int = 40) -> list[Image]:
    found = []
    for number in range(count):
        path = folder / f"secret name {number}.jpg"
        path.write_bytes(b"\xff\xd8\xff" + number.to_bytes(2, "big") * 500)
        label = "malignant" if number % 2 else "benign"
        found.append(Image(path, path.name, label, f"patient{number % 10}", 1003, 0))
    return found


def packed(found: list[Image], **options: int) -> tuple[Packed, dict[str, bytes]]:
    written: dict[str, bytes] = {}

    @contextmanager
    def open_part(name: str) -> Iterator[io.BytesIO]:
        buffer = io.BytesIO()
        yield buffer
        written[name] = buffer.getvalue()

    return pack(found, KEY, open_part, keep_identifiers=True, **options), written


def content_of(found: list[Image]) -> str:
    return pack(found, KEY, None, keep_identifiers=True).content


def test_rows_are_read_back_unchanged(tmp_path: Path) -> None:
    found = images(tmp_path)
    result, written = packed(found)
    assert list(written) == ["part-00000.parquet"]
    table = pq.read_table(io.BytesIO(written["part-00000.parquet"]))
    rows = {row["image_id"]: row for row in table.to_pylist()}
    assert len(rows) == 40
    for image in found:
        content = image.path.read_bytes()
        assert rows[ids.image_id(KEY, content)] == {
            "image_id": ids.image_id(KEY, content),
            "patient_id": ids.patient_pseudonym(KEY, image.patient),
            "label": image.label,
            "format": "jpeg",
            "sha256": hashlib.sha256(content).hexdigest(),
            "content": content,
            "size": 1003,
            **dict.fromkeys(("view", "laterality", "age", "density", "machine", "site", "reject")),
            "warnings": [],
        }
    assert (result.images, result.patients, result.size) == (40, 10, 40 * 1003)
    assert result.labels == {"benign": 20, "malignant": 20}
    assert result.formats == {"jpeg": 40}


def test_names_and_patients_do_not_travel(tmp_path: Path) -> None:
    _, written = packed(images(tmp_path))
    data = b"".join(written.values())
    assert b"secret" not in data
    assert b"patient1" not in data


def test_parts_and_row_groups_are_bounded(tmp_path: Path) -> None:
    seen: list[int] = []
    found = images(tmp_path)
    written: dict[str, io.BytesIO] = {}

    @contextmanager
    def open_part(name: str) -> Iterator[io.BytesIO]:
        written[name] = io.BytesIO()
        yield written[name]

    result = pack(
        found, KEY, open_part, keep_identifiers=True, part_bytes=18 * 1003, advance=seen.append
    )
    counts = [part.images for part in result.parts]
    assert sum(counts) == 40
    assert max(counts) <= 18
    assert min(counts[:-1]) >= 5  # a quarter of the size at least, the last part apart
    assert len(counts) > 2
    assert seen == [1003] * 40
    for part in result.parts:
        data = written[part.name].getvalue()
        assert part.size == len(data)
        assert part.sha256 == hashlib.sha256(data).hexdigest()
    groups = pq.ParquetFile(written["part-00000.parquet"]).metadata
    rows = [groups.row_group(n).num_rows for n in range(groups.num_row_groups)]
    assert sum(rows) == counts[0]
    assert max(rows) <= 16


@pytest.mark.parametrize("change", ["one more", "one less"])
def test_an_image_that_comes_or_goes_changes_few_parts(tmp_path: Path, change: str) -> None:
    def sums(found: list[Image]) -> list[str]:
        @contextmanager
        def open_part(_name: str) -> Iterator[io.BytesIO]:
            yield io.BytesIO()

        how: dict[str, Any] = {"keep_identifiers": True, "part_bytes": 24 * 1003}
        return [part.sha256 for part in pack(found, KEY, open_part, **how).parts]

    found = images(tmp_path, 400)
    whole, other = sums(found), sums(found[:200] + found[201:])
    assert len(whole) > 20
    before, after = (whole, other) if change == "one less" else (other, whole)
    travels = [one for one in after if one not in before]
    assert 1 <= len(travels) <= 4


def test_classes_are_mixed(tmp_path: Path) -> None:
    found = sorted(images(tmp_path, 64), key=lambda image: image.label)
    _, written = packed(found)
    first = pq.ParquetFile(io.BytesIO(written["part-00000.parquet"])).read_row_group(0)
    assert len(set(first["label"].to_pylist())) == 2


def test_content_does_not_depend_on_names_or_order(tmp_path: Path) -> None:
    found = images(tmp_path)
    renamed = [
        Image(i.path, f"x{n}", i.label, i.patient, i.size, 1) for n, i in enumerate(found[::-1])
    ]
    assert content_of(found) == content_of(renamed)
    relabelled = [replace(i, label="benign" if n == 1 else i.label) for n, i in enumerate(found)]
    assert content_of(found) != content_of(relabelled)
    older = [replace(i, about=About(age="70")) for i in found]
    assert content_of(found) != content_of(older)


def test_duplicates_are_packed_once_but_mapped_twice(tmp_path: Path) -> None:
    found = images(tmp_path, 4)
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(found[0].path.read_bytes())
    found.append(Image(copy, "copy.jpg", found[0].label, found[0].patient, 1003, 0))
    result, written = packed(found)
    assert pq.read_table(io.BytesIO(written["part-00000.parquet"])).num_rows == 4
    assert (result.images, result.duplicates) == (4, 1)
    same = [row[1] for row in result.rows if row[0] == ids.image_id(KEY, copy.read_bytes())]
    assert sorted(same) == ["copy.jpg", found[0].name]


@pytest.mark.parametrize(
    ("label", "patient"), [("malignant", "patient0"), ("benign", "somebody else")]
)
def test_same_content_with_another_label_or_patient_is_refused(
    tmp_path: Path, label: str, patient: str
) -> None:
    found = images(tmp_path, 4)
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(found[0].path.read_bytes())
    found.append(Image(copy, "copy.jpg", label, patient, 1003, 0))
    with pytest.raises(DataError, match="same content") as caught:
        packed(found)
    assert "copy.jpg" in caught.value.details[0]
    assert found[0].name in caught.value.details[0]


def test_without_patients_each_image_is_one(tmp_path: Path) -> None:
    found = [Image(i.path, i.name, i.label, "", i.size, 0) for i in images(tmp_path, 6)]
    result, written = packed(found)
    rows = pq.read_table(io.BytesIO(written["part-00000.parquet"])).to_pylist()
    assert all(row["patient_id"] == row["image_id"] for row in rows)
    assert result.patients == 6


@pytest.mark.parametrize("keep", [False, True])
def test_views_of_one_woman_are_one_patient_by_their_header(tmp_path: Path, keep: bool) -> None:
    from pictures import jpeg, pixels
    from test_deid_dicom import dataset, written

    found = []
    for number, who in enumerate(("4711", "4711 ", "4712", "")):
        made = dataset(pixels(number, np.uint16, 4096), PatientID=who)
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(written(made))
        found.append(Image(path, path.name, ("benign", "malignant")[number % 2], "", 1, 0))
    plain = tmp_path / "named.jpg"
    plain.write_bytes(jpeg(9))
    found.append(Image(plain, plain.name, "benign", "4711", 1, 0))
    parts: list[io.BytesIO] = []

    @contextmanager
    def open_part(_: str) -> Iterator[io.BytesIO]:
        parts.append(io.BytesIO())
        yield parts[-1]

    result = pack(found, KEY, open_part, keep_identifiers=keep)
    patient = {row[1]: row[4] for row in result.rows}
    assert patient["0.dcm"] == patient["1.dcm"] == patient["named.jpg"]
    assert patient["0.dcm"] == ids.patient_pseudonym(KEY, "4711")
    assert len(set(patient.values())) == result.patients == 3
    assert (result.from_header, result.without_patient) == (3, 1)
    assert result.warnings[NO_PATIENT] == 1
    assert "4712" not in str(result.rows)  # the map names what the user named
    if not keep:
        rows = pq.read_table(parts[0]).to_pylist()
        assert not [row for row in rows if b"4712" in row["content"] or "4712" in str(row)]


def test_who_told_the_patients_is_described(tmp_path: Path) -> None:
    scan = Scan(images=images(tmp_path, 2), patient_source="manifest")

    def source(**counts: int) -> object:
        return describe("set", scan, Packed(**counts), "", False)["patient_source"]

    assert (source(), source(from_header=1)) == ("manifest", "manifest, dicom")
    scan.patient_source = "none"
    assert (source(without_patient=2), source(from_header=1)) == ("none", "dicom")
    assert describe("set", scan, Packed(without_patient=2), "", False)["without_patient"] == 2


def test_vanished_file_is_a_clear_error(tmp_path: Path) -> None:
    found = images(tmp_path, 4)
    found[2].path.unlink()
    with pytest.raises(DataError, match=r"secret name 2\.jpg"):
        packed(found)


def test_key_is_made_once_private_and_kept(tmp_path: Path) -> None:
    key = ids.load_key(tmp_path)
    path = tmp_path / "secrets" / "data_hmac"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert len(key) == 32
    assert ids.load_key(tmp_path) == key
    assert [entry.name for entry in path.parent.iterdir()] == ["data_hmac"]
    other = tmp_path / "other"
    other.mkdir()
    assert ids.load_key(other) != key


@pytest.mark.parametrize("text", ["", "zz", "abcd"])
def test_broken_key_is_never_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "secrets").mkdir()
    path = tmp_path / "secrets" / "data_hmac"
    path.write_text(text)
    with pytest.raises(DataError, match="key for identifiers"):
        ids.load_key(tmp_path)
    assert path.read_text() == text


def test_ids_depend_on_key_and_purpose() -> None:
    assert ids.image_id(KEY, b"x") != ids.image_id(b"l" * 32, b"x")
    assert ids.image_id(KEY, b"x") != ids.patient_pseudonym(KEY, "x")
    assert len(ids.image_id(KEY, b"x")) == 16


def test_images_are_cleaned_unless_told_otherwise(tmp_path: Path) -> None:
    from pictures import PLANTED, jpeg

    found = images(tmp_path, 4)
    for number, image in enumerate(found):
        image.path.write_bytes(jpeg(number))
    name = PLANTED.encode()
    written: dict[str, bytes] = {}

    @contextmanager
    def open_part(part: str) -> Iterator[io.BytesIO]:
        buffer = io.BytesIO()
        yield buffer
        written[part] = buffer.getvalue()

    def contents() -> list[bytes]:
        return pq.read_table(io.BytesIO(written["part-00000.parquet"]))["content"].to_pylist()

    pack(found, KEY, open_part)
    assert not [content for content in contents() if name in content]
    pack(found, KEY, open_part, keep_identifiers=True)
    assert [name in content for content in contents()] == [True] * 4
    cleaned, whole = pack(found, KEY, None), pack(found, KEY, None, keep_identifiers=True)
    assert cleaned.content != whole.content


def test_what_cannot_be_cleaned_travels_as_a_reason(tmp_path: Path) -> None:
    from pictures import jpeg

    found = images(tmp_path, 6)
    for number, image in enumerate(found[:4]):
        image.path.write_bytes(jpeg(number))
    found[5].path.write_bytes(b"")
    written: list[io.BytesIO] = []

    @contextmanager
    def open_part(part: str) -> Iterator[io.BytesIO]:
        written.append(io.BytesIO())
        yield written[-1]

    result = pack(found, KEY, open_part)
    rows = pq.read_table(written[0]).to_pylist()
    assert sorted((len(row["content"]) > 0, row["reject"] or "") for row in rows) == [
        (False, "empty file"),
        (False, "truncated or damaged"),
        *[(True, "")] * 4,
    ]
    assert result.rejects == {"empty file": 1, "truncated or damaged": 1}
    assert result.images == 6


def test_nothing_meaningful_left_is_an_error(tmp_path: Path) -> None:
    from pictures import jpeg

    found = images(tmp_path, 6)
    for number in (0, 2, 4):
        found[number].path.write_bytes(jpeg(number))
    with pytest.raises(DataError, match="no image called malignant") as caught:
        pack(found, KEY, None)
    assert caught.value.details == ["3 images: truncated or damaged"]


def test_machine_and_site_travel_as_keyed_hashes(tmp_path: Path) -> None:
    about = About(view="CC", machine="ACME 3000", site="St. Mary")
    found = [replace(i, about=about) for i in images(tmp_path, 2)]
    _, written = packed(found)
    rows = pq.read_table(io.BytesIO(written["part-00000.parquet"])).to_pylist()
    assert {row["view"] for row in rows} == {"CC"}
    assert len({row["machine"] for row in rows}) == len({row["site"] for row in rows}) == 1
    assert "ACME" not in str(rows)
    assert "Mary" not in str(rows)


def test_images_without_labels_are_packed(tmp_path: Path) -> None:
    found = [replace(image, label="") for image in images(tmp_path, 6)]
    result, written = packed(found)
    assert result.images == 6
    assert result.labels == {"benign": 0, "malignant": 0}
    table = pq.read_table(io.BytesIO(written["part-00000.parquet"]), columns=["label"])
    assert set(table["label"].to_pylist()) == {""}
    with pytest.raises(DataError, match="no image can be used"):
        pack(found, KEY, None)
