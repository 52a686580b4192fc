"""Make of each image the row in which it travels: read once, named by its content, cleaned."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from mammoctl.data import deid, ids
from mammoctl.data.about import travelling
from mammoctl.data.deid import Cleaned
from mammoctl.data.deid.dicom import patient_of
from mammoctl.data.formats import HEAD_BYTES, has_dicom_name, sniff
from mammoctl.data.model import Image
from mammoctl.errors import DataError

_THREADS = min(4, os.cpu_count() or 1)
"""Images that are read and cleaned at the same time; nearly all of it is done outside Python."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the packed data set, and whether its patient is known from the file's header."""

    image_id: str
    patient_id: str
    label: str
    format: str
    sha256: str
    cleaned: Cleaned
    from_header: bool = False

    @property
    def content(self) -> bytes:
        """The file as it travels."""
        return self.cleaned.content


def prepared(
    images: Iterable[Image], key: bytes, keep_identifiers: bool
) -> Iterator[tuple[Image, int, Record]]:
    """Yield each image with its size in bytes and its row, in order; a few are made ahead.

    Args:
        images: what to read, each once.
        key: the cluster's key for identifiers.
        keep_identifiers: take the files as they are instead of cleaning them (`deid.clean`).

    Raises:
        DataError: a file cannot be read any more.
    """
    ahead: deque[tuple[Image, Future[tuple[int, Record]]]] = deque()

    def oldest() -> tuple[Image, int, Record]:
        image, future = ahead.popleft()
        return image, *future.result()

    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for image in images:
                ahead.append((image, pool.submit(_prepare, image, key, keep_identifiers)))
                if len(ahead) > _THREADS:
                    yield oldest()
            while ahead:
                yield oldest()
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare(image: Image, key: bytes, keep_identifiers: bool) -> tuple[int, Record]:
    """Read an image; return its size in bytes and the row in which it travels."""
    content = _read(image)
    image_id = ids.image_id(key, content)
    kind = sniff(content[:HEAD_BYTES])
    name = image.patient
    if not name and (kind == "dicom" or (kind == "unknown" and has_dicom_name(image.path))):
        name = patient_of(content)
    # without a patient, each image is one: its own id is as good a pseudonym as any
    patient = ids.patient_pseudonym(key, name) if name else image_id
    cleaned = _cleaned(image, content, key, patient, keep_identifiers)
    digest = hashlib.sha256(cleaned.content).hexdigest()
    told = bool(name) and not image.patient
    return len(content), Record(image_id, patient, image.label, kind, digest, cleaned, told)


def _cleaned(
    image: Image, content: bytes, key: bytes, patient: str, keep_identifiers: bool
) -> Cleaned:
    """Return an image as it travels; its manifest counts more than its header."""
    if keep_identifiers:
        return Cleaned(content, travelling(image.about, key))
    cleaned = deid.clean(content, key=key, patient=patient, dicom_name=has_dicom_name(image.path))
    return replace(cleaned, about=travelling(image.about.over(cleaned.about), key))


def _read(image: Image) -> bytes:
    try:
        return image.path.read_bytes()
    except OSError as exc:
        raise DataError(
            f"cannot read {image.name}: {exc.strerror or exc}",
            hint="check the file, or leave such files out with --skip-bad",
        ) from exc
