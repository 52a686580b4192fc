"""Pack images into a few large Parquet files, with bounded memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mammoctl.data import ids
from mammoctl.data.about import NAMES
from mammoctl.data.formats import has_dicom_name
from mammoctl.data.model import LABELS, Image
from mammoctl.data.records import Record, prepared
from mammoctl.data.scan import first_few
from mammoctl.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

PART_BYTES = 256 * 1024**2
"""A part is never larger by more than one image, and half as large on average."""

ROW_GROUP_ROWS = 16
ROW_GROUP_BYTES = 64 * 1024**2

NO_PATIENT = "nobody says whose they are: each counts as a patient of its own"


class Sink(Protocol):
    """Where a part's bytes go."""

    def write(self, data: bytes) -> int:
        """Take the next bytes."""


OpenPart = Callable[[str], AbstractContextManager[Sink]]


@dataclass(frozen=True, slots=True)
class Part:
    """One written file: its name, size in bytes, checksum and number of images."""

    name: str
    size: int
    sha256: str
    images: int


@dataclass(slots=True)
class Packed:
    """What was packed.

    Attributes:
        parts: the files in the order of writing.
        content: sha256 over what travels, whatever the order and the names.
        rows: for the map from ids to files: id, file, label, patient, pseudonym.
        duplicates: number of files left out because another has the same content.
        warnings: how many images have which warning.
        rejects: how many images travel without content, for which reason.
        from_header: how many images have their patient from a DICOM header.
        without_patient: of how many images nobody knows the patient.
    """

    parts: list[Part] = field(default_factory=list)
    content: str = ""
    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    images: int = 0
    patients: int = 0
    size: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    warnings: dict[str, int] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)
    from_header: int = 0
    without_patient: int = 0


def schema() -> pa.Schema:
    """Return the columns of a packed data set."""
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            pa.field("image_id", text, nullable=False),
            pa.field("patient_id", text, nullable=False),
            pa.field("label", text, nullable=False),
            pa.field("format", text, nullable=False),
            pa.field("sha256", text, nullable=False),
            pa.field("content", pa.binary(), nullable=False),
            pa.field("size", pa.int64(), nullable=False),
            *(pa.field(name, text) for name in NAMES),
            pa.field("warnings", pa.list_(text), nullable=False),
            pa.field("reject", text),
        ]
    )


class _Hashing:
    """A write-only stream that passes bytes on and keeps their count and checksum."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._digest = hashlib.sha256()
        self.size = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        data = bytes(data)
        self._sink.write(data)
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def pack(
    images: Iterable[Image],
    key: bytes,
    open_part: OpenPart | None,
    *,
    keep_identifiers: bool = False,
    advance: Callable[[int], None] = lambda _: None,
    part_bytes: int = PART_BYTES,
) -> Packed:
    """Read each image once and write the data set's parts one after the other.

    The order of rows follows a keyed hash of the names: the classes are mixed, and the order
    tells nothing.

    Args:
        images: what to pack.
        key: the cluster's key for identifiers.
        open_part: opens the file of a given name for writing; None only computes what the
            data set would be (``parts`` stays empty).
        keep_identifiers: send the files as they are instead of cleaning them (`deid.clean`).
        advance: is told the number of bytes read after each image.
        part_bytes: start a new part after this many bytes of images, and mostly before.

    Raises:
        DataError: a file cannot be read any more, the same content comes with two labels or
            two patients, or no usable image (of one class, if there are labels) is left.
    """
    result = Packed()
    ordered = sorted(images, key=lambda image: ids.patient_pseudonym(key, "/" + image.name))
    records = _records(ordered, key, result, advance, keep_identifiers)
    if open_part is None:
        for _ in records:
            pass
    else:
        for number, chunk in enumerate(_parts(records, part_bytes)):
            name = f"part-{number:05d}.parquet"
            with open_part(name) as sink:
                stream = _Hashing(sink)
                count = _write_part(stream, chunk)
            result.parts.append(Part(name, stream.size, stream.hexdigest(), count))
    return result


def _parts(records: Iterator[Record], part_bytes: int) -> Iterator[Iterator[Record]]:
    """Cut the stream of records into parts, each a stream of its own.

    Where to cut is decided by the images themselves, so that an image that comes or goes changes
    the part that it is in and leaves the others as they are (content-defined chunking:
    Muthitacharoen, Chen and Mazieres, 2001, SOSP). From a quarter of the size on, every image ends
    its part with a probability in proportion to its own size.
    """
    pending: list[Record] = []

    def one() -> Iterator[Record]:
        taken = 0
        while True:
            record = pending.pop() if pending else next(records, None)
            if record is None:
                return
            taken += len(record.content)
            yield record
            if taken >= part_bytes or (4 * taken >= part_bytes and _ends(record, part_bytes)):
                return

    while (first := next(records, None)) is not None:
        pending.append(first)
        yield one()


def _ends(record: Record, part_bytes: int) -> bool:
    share = int.from_bytes(hashlib.sha256(record.image_id.encode()).digest()[:8]) / 2**64
    return share < 4 * len(record.content) / part_bytes


def _write_part(stream: _Hashing, records: Iterator[Record]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = schema()
    labels = [name for name in columns.names if name not in ("content", "warnings")]
    count = 0
    with pq.ParquetWriter(
        pa.PythonFile(stream, mode="w"),
        columns,
        compression="zstd",
        compression_level=1,
        use_dictionary=["label", "format"],
        write_statistics=labels,
    ) as writer:
        for group in _groups(records):
            count += len(group)
            writer.write_batch(_batch(group, columns), row_group_size=ROW_GROUP_ROWS)
    return count


def _groups(records: Iterator[Record]) -> Iterator[list[Record]]:
    group: list[Record] = []
    held = 0
    for record in records:
        group.append(record)
        held += len(record.content)
        if len(group) >= ROW_GROUP_ROWS or held >= ROW_GROUP_BYTES:
            yield group
            group, held = [], 0
    if group:
        yield group


def _batch(group: list[Record], columns: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_pydict(
        {
            "image_id": [record.image_id for record in group],
            "patient_id": [record.patient_id for record in group],
            "label": [record.label for record in group],
            "format": [record.format for record in group],
            "sha256": [record.sha256 for record in group],
            "content": [record.content for record in group],
            "size": [len(record.content) for record in group],
            **{
                name: [getattr(record.cleaned.about, name) or None for record in group]
                for name in NAMES
            },
            "warnings": [list(record.cleaned.warnings) for record in group],
            "reject": [record.cleaned.reject or None for record in group],
        },
        schema=columns,
    )


def _records(
    images: Iterable[Image],
    key: bytes,
    result: Packed,
    advance: Callable[[int], None],
    keep_identifiers: bool,
) -> Iterator[Record]:
    """Yield a record per distinct image, fill in ``result``, refuse contradictions at the end."""
    seen: dict[str, tuple[str, str, str]] = {}
    contradictions: list[str] = []
    labels: Counter[str] = Counter()
    usable: Counter[str] = Counter()
    formats: Counter[str] = Counter()
    warnings: Counter[str] = Counter()
    rejects: Counter[str] = Counter()
    lines: list[str] = []
    for image, size, record in prepared(images, key, keep_identifiers):
        advance(size)
        image_id, patient, cleaned = record.image_id, record.patient_id, record.cleaned
        result.rows.append((image_id, image.name, image.label, image.patient, patient))
        if other := seen.get(image_id):
            result.duplicates += 1
            if other[:2] != (image.label, patient):
                contradictions.append(f"{image.name} and {other[2]}")
            continue
        seen[image_id] = (image.label, patient, image.name)
        if contradictions:
            continue
        labels[image.label] += 1
        formats[record.format] += 1
        result.from_header += record.from_header
        if patient == image_id:
            result.without_patient += 1
            # of the others, the look at the folder has told already
            if image.label and has_dicom_name(image.path):
                warnings[NO_PATIENT] += 1
        warnings.update(cleaned.warnings)
        if cleaned.reject:
            rejects[cleaned.reject] += 1
        else:
            usable[image.label] += 1
        result.size += len(cleaned.content)
        lines.append(f"{image_id} {image.label} {patient} {record.sha256} {cleaned.about}\n")
        yield record
    if contradictions:
        raise DataError(
            f"{len(contradictions)} files have the same content as another file but another "
            "label or patient",
            hint="remove the wrong file of each pair, or mend the manifest",
            details=first_few(contradictions),
        )
    # images to be judged have no label, all of them
    _check_usable([""] if set(labels) == {""} else LABELS, usable, rejects)
    result.images = len(seen)
    result.patients = len({patient for _, patient, _ in seen.values()})
    result.labels = {label: labels[label] for label in LABELS}
    result.formats = dict(sorted(formats.items()))
    result.warnings = dict(sorted(warnings.items()))
    result.rejects = dict(sorted(rejects.items()))
    result.content = hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _check_usable(needed: Sequence[str], usable: Counter[str], rejects: Counter[str]) -> None:
    """Refuse a data set of which nothing meaningful would be left."""
    missing = [label for label in needed if not usable[label]]
    if not missing:
        return
    which = f"image called {' or '.join(missing)}" if any(missing) else "image"
    raise DataError(
        f"no {which} can be used",
        hint="look at the files: none of these could be read",
        details=[f"{count} images: {reason}" for reason, count in rejects.most_common()],
    )
