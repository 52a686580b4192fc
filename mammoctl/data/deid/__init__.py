"""De-identification on the control machine: what goes on to the cluster, and what is told about it.

Everything works by allow lists. A file in a format that is not understood well enough to be cleaned
does not travel: its row does, without content and with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from mammoctl.data.about import NOTHING, About
from mammoctl.data.formats import HEAD_BYTES, sniff

VERSION = 3
"""Raise it with every change that alters what is sent: data sets then differ from older ones."""


class Unusable(Exception):
    """A file that cannot be cleaned. The message is the reason and quotes nothing from the file."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """An image file without identifiers.

    Attributes:
        content: the file; empty when `reject` says why it cannot be used.
        about: what its header tells about it, before `about.travelling`.
        warnings: what a reader of results should know, in words of our own.
        reject: why the file cannot be used, or empty.
    """

    content: bytes
    about: About = NOTHING
    warnings: tuple[str, ...] = ()
    reject: str = ""


def clean(content: bytes, *, key: bytes, patient: str, dicom_name: bool = False) -> Cleaned:
    """Remove everything from an image file that could identify somebody.

    Pixels are kept bit by bit. JPEG, PNG and PGM keep what makes the picture, DICOM the attributes
    of `deid.attributes`; other formats are decoded and written anew as PNG or TIFF.

    Args:
        content: the file.
        key: the cluster's key for identifiers.
        patient: the patient's pseudonym; written into DICOM files, and decides the shift of dates.
        dicom_name: the file is called like a DICOM file, which may lack the magic bytes.
    """
    from mammoctl.data.deid import jpeg, pgm, plain, png
    from mammoctl.data.deid.dicom import clean_dicom

    if not content:
        return Cleaned(b"", reject="empty file")
    kind = sniff(content[:HEAD_BYTES])
    strip = {"jpeg": jpeg.strip, "png": png.strip}.get(kind)
    try:
        if kind == "dicom" or (kind == "unknown" and dicom_name):
            return clean_dicom(content, key, patient)
        if strip:
            return Cleaned(strip(content, plain.orientation(content)))
        if kind == "pgm":
            return Cleaned(pgm.strip(content))
        return Cleaned(plain.rewrite(content))
    except Unusable as error:
        reason = str(error)
    except MemoryError:
        reason = "too large for the memory there is"
    except Exception as error:  # parsers raise nearly anything; their text may quote the file
        reason = f"unreadable ({type(error).__name__})"
    return Cleaned(b"", reject=reason)
