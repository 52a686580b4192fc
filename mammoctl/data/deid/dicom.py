"""DICOM files by allow list: attributes, pixels and file header written anew, nothing else."""

from __future__ import annotations

import io
import logging
import math
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from typing import Any

from mammoctl.data import ids
from mammoctl.data.about import MAX_AGE, About, age, view
from mammoctl.data.deid import Cleaned, Unusable, jpeg, jpeg2000
from mammoctl.data.deid.attributes import (
    RULES,
    VIEW_CODES,
    Age,
    Date,
    Items,
    Numbers,
    Rule,
    Table,
    Uid,
    Words,
)

_STANDARD_ROOT = "1.2.840.10008."


def clean_dicom(content: bytes, key: bytes, patient: str) -> Cleaned:
    """Write a DICOM file anew with what `attributes.RULES` allows.

    Unique identifiers are replaced by keyed ones (equal ones stay equal), the dates of a patient
    all move back by the same number of days, and unused bits of the pixels, where old overlays
    hide, are cleared.

    Raises:
        Unusable: not DICOM, without pixels, with several frames, or coded in a way that cannot be
            cleaned.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    with _quiet():
        try:
            source = pydicom.dcmread(io.BytesIO(content), force=content[128:132] != b"DICM")
        except InvalidDicomError as error:
            raise Unusable("not DICOM") from error
        if "PixelData" not in source or "Rows" not in source or "Columns" not in source:
            known = content[128:132] == b"DICM"
            raise Unusable(
                "DICOM without pixel data" if known else "not an image of a known format"
            )
        return Cleaned(_rewrite(source, key, patient), _about(source), _warnings(source))


def patient_of(content: bytes) -> str:
    """Return the PatientID in the header of a DICOM file, which stays here; empty if unknown."""
    import pydicom

    with _quiet():
        try:
            header = pydicom.dcmread(
                io.BytesIO(content),
                stop_before_pixels=True,
                force=content[128:132] != b"DICM",
                specific_tags=["PatientID"],
            )
            return str(header.get("PatientID") or "").strip(" \0")
        except Exception:  # parsers raise nearly anything; `clean_dicom` says what is wrong
            return ""


class _Silence:
    """Keeps pydicom from warning about values, which a warning would quote.

    What is set for that holds for all threads: the first that needs it sets it, and the last one
    takes it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before = ExitStack()
        self._users = 0

    def begin(self) -> None:
        import pydicom

        with self._lock:
            if not self._users:
                logger = logging.getLogger("pydicom")
                self._before.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL)
                self._before.enter_context(pydicom.config.disable_value_validation())
                self._before.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            self._users += 1

    def end(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._before.close()


_silence = _Silence()


@contextmanager
def _quiet() -> Iterator[None]:
    """Work without a warning of pydicom's."""
    _silence.begin()
    try:
        yield
    finally:
        _silence.end()


def _rewrite(source: Any, key: bytes, patient: str) -> bytes:
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian

    syntax = source.file_meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian
    target = _copy(source, RULES, key, patient)
    target.PatientID = patient
    target.PatientName = ""
    target.PatientIdentityRemoved = "YES"
    target.DeidentificationMethod = "mammoctl: allow list of attributes"
    target.LongitudinalTemporalInformationModified = "MODIFIED"
    for name, empty in (("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"), ("SOPInstanceUID", None)):
        if name not in target:
            setattr(target, name, empty or ids.remapped_uid(key, patient))
    if "PatientAge" not in target and (years := _age_at(source)):
        target.PatientAge = years
    _pixels(source, target, syntax)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = target.SOPClassUID
    meta.MediaStorageSOPInstanceUID = target.SOPInstanceUID
    target.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, target, enforce_file_format=True)
    return buffer.getvalue()


def _copy(source: Any, rules: Mapping[str, Rule], key: bytes, patient: str) -> Any:
    from pydicom.dataset import Dataset

    target = Dataset()
    for keyword, rule in rules.items():
        try:
            value = source.get(keyword)
            kept = None if value is None else _kept(value, rule, source, key, patient)
        except Exception:  # a value that cannot even be parsed
            kept = None
        if kept is not None:
            _set(target, keyword, kept, source)
    return target


def _set(target: Any, keyword: str, value: Any, source: Any) -> None:
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import DataElement

    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    allowed = dictionary_VR(tag).split(" or ")
    found = source[keyword].VR
    vr = found if found in allowed else allowed[0]
    target.add(DataElement(tag, "OW" if isinstance(value, bytes) else vr, value))


def _kept(value: Any, rule: Rule, source: Any, key: bytes, patient: str) -> Any:
    """Return what may be kept of a value, or None."""
    if isinstance(rule, Words):
        words = [str(item).strip().upper() for item in _several(value)]
        return words[0] if len(words) == 1 and words[0] in rule.allowed else None
    if isinstance(rule, Numbers):
        numbers = [_number(item) for item in _several(value)]
        if not numbers or len(numbers) > rule.count or None in numbers:
            return None
        return numbers[0] if len(numbers) == 1 else numbers
    if isinstance(rule, Table):
        return _table(value, source.get(rule.descriptor))
    if isinstance(rule, Items):
        items = [_copy(item, rule.rules, key, patient) for item in value]
        return [item for item in items if len(item)] or None
    simple: dict[Any, Callable[[], str | None]] = {
        Uid: lambda: _uid(str(value), key),
        Date: lambda: _shifted(str(value), ids.shift_in_days(key, patient)),
        Age: lambda: f"{int(years):03}Y" if (years := age(str(value))) else None,
    }
    return simple[rule]()


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) or _is_multi(value) else [value]


def _is_multi(value: Any) -> bool:
    from pydicom.multival import MultiValue

    return isinstance(value, MultiValue)


def _number(value: Any) -> int | float | None:
    """Return a number that fits into a decimal string of 16 characters, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 1e12 else float(f"{number:.9g}")


def _table(value: Any, descriptor: Any) -> bytes | None:
    """Return the entries of a look-up table (PS3.3 C.11.1.1.1) and not a byte more."""
    import numpy as np

    entries = (int(_several(descriptor)[0]) & 0xFFFF) or 65536
    if isinstance(value, bytes):
        # tables of 8 bits are packed two to a word (PS3.5 8.1.1)
        wide = len(value) >= 2 * entries
        return value[: 2 * entries] if wide else value[:entries] + bytes(entries % 2)
    words = np.array([int(item) & 0xFFFF for item in _several(value)][:entries], "<u2")
    return words.tobytes()


def _uid(value: str, key: bytes) -> str | None:
    from pydicom.uid import UID

    if not re.fullmatch(r"[0-9.]{1,64}", value):
        return None
    if value.startswith(_STANDARD_ROOT) and UID(value).name != value:
        return value
    return ids.remapped_uid(key, value)


def _shifted(text: str, days: int) -> str | None:
    moment = _date(text)
    return f"{moment - timedelta(days=days):%Y%m%d}" if moment and moment.year > 1900 else None


def _date(text: str) -> date | None:
    match = re.fullmatch(r"(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})", text.strip())
    try:
        return date(*map(int, match.groups())) if match else None
    except ValueError:
        return None


def _age_at(source: Any) -> str | None:
    """Return the patient's age at the study, from the date of birth that stays behind."""
    born, seen = _date(str(source.get("PatientBirthDate"))), _date(str(source.get("StudyDate")))
    if born is None or seen is None or seen < born:
        return None
    years = seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))
    return f"{min(years, MAX_AGE):03}Y" if years else None


def _pixels(source: Any, target: Any, syntax: Any) -> None:
    """Put the pixels into `target`, without what hides between and behind them."""
    from pydicom.uid import (
        UID,
        JPEG2000TransferSyntaxes,
        JPEGLSTransferSyntaxes,
        JPEGTransferSyntaxes,
        RLETransferSyntaxes,
    )

    data = source.PixelData
    syntax = UID(syntax)
    if int(target.get("NumberOfFrames", 1) or 1) > 1:  # no training takes a tomosynthesis
        raise Unusable("several frames")
    missing = [n for n in ("Rows", "Columns", "BitsAllocated", "BitsStored") if n not in target]
    if missing:
        raise Unusable("DICOM without a description of its pixels")
    if syntax.is_encapsulated:
        from pydicom.encaps import encapsulate, generate_frames

        clean: Callable[..., bytes]
        if syntax in JPEG2000TransferSyntaxes:
            clean = jpeg2000.blank_comments
        elif syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
            clean = jpeg.strip
        elif syntax in RLETransferSyntaxes:
            clean = _as_it_is
        else:
            raise Unusable("DICOM coded in a way that cannot be de-identified")
        try:
            coded = list(generate_frames(data, number_of_frames=1))
        except ValueError as error:
            raise Unusable("truncated or damaged") from error
        target.PixelData = encapsulate([clean(frame) for frame in coded])
        target["PixelData"].VR = "OB"
        target["PixelData"].is_undefined_length = True
        return
    if syntax not in _native():
        raise Unusable("DICOM coded in a way that cannot be de-identified")
    target.PixelData = _masked(data, target, big=not syntax.is_little_endian)
    target["PixelData"].VR = "OW" if target.BitsAllocated > 8 else source["PixelData"].VR


def _as_it_is(data: bytes) -> bytes:
    return data


def _native() -> tuple[str, ...]:
    from pydicom import uid

    return (
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
    )


def _masked(data: bytes, target: Any, *, big: bool) -> bytes:
    """Return native pixels of the declared length with every bit cleared that stores no pixel."""
    import numpy as np

    allocated, stored = int(target.BitsAllocated), int(target.BitsStored)
    samples = int(target.get("SamplesPerPixel", 1) or 1)
    count = int(target.Rows) * int(target.Columns) * samples
    if allocated not in (8, 16, 32):
        return data[: (count * allocated + 7) // 8]
    data = data[: count * allocated // 8]
    high = int(target.get("HighBit", stored - 1))
    low = high - stored + 1
    if not 0 < stored < allocated or low < 0 or high >= allocated:
        return data + bytes(len(data) % 2)
    data = data[: len(data) - len(data) % (allocated // 8)]
    order = ">" if big else "<"
    values = np.frombuffer(data, f"{order}u{allocated // 8}")
    kept = values & np.array(((1 << stored) - 1) << low, values.dtype)
    if int(target.get("PixelRepresentation", 0)) == 1 and low == 0:
        # the bits above a negative number are its sign
        sign = np.array(1 << high, values.dtype)
        above = np.array(((1 << allocated) - 1) ^ ((1 << stored) - 1), values.dtype)
        kept = np.where(values & sign, kept | above, kept)
    cleared: bytes = kept.astype(values.dtype).tobytes()
    return cleared + bytes(len(cleared) % 2)


def _about(source: Any) -> About:
    def text(keyword: str) -> str:
        value = source.get(keyword)
        return "" if value is None else str(value).strip()

    seen = view(text("ViewPosition"))
    if not seen:
        codes = [str(item.get("CodeValue", "")) for item in source.get("ViewCodeSequence") or []]
        seen = next((VIEW_CODES[code] for code in codes if code in VIEW_CODES), "")
    side = (text("ImageLaterality") or text("Laterality")).upper()
    makers = [text("Manufacturer"), text("ManufacturerModelName")]
    return About(
        view=seen,
        laterality=side if side in ("L", "R", "B") else "",
        age=age(text("PatientAge") or _age_at(source) or ""),
        machine="|".join(makers) if any(makers) else "",
        site=text("InstitutionName"),
    )


def _warnings(source: Any) -> tuple[str, ...]:
    burned = str(source.get("BurnedInAnnotation", "")).strip().upper()
    if burned == "YES":
        return ("burned-in annotation declared",)
    captured = str(source.get("SOPClassUID", "")).startswith("1.2.840.10008.5.1.4.1.1.7")
    if burned != "NO" and captured:
        return ("burned-in annotation possible: a secondary capture",)
    return ()
