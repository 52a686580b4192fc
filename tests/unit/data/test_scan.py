from __future__ import annotations

import os
from pathlib import Path

import pytest

from mammoctl.data.about import About
from mammoctl.data.formats import sniff
from mammoctl.data.scan import scan_folder
from mammoctl.errors import DataError

JPEG = b"\xff\xd8\xff\xe0"


def put(folder: Path, name: str, content: bytes | None = None) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(JPEG + name.encode() if content is None else content)
    return path


def manifest(folder: Path, text: str) -> None:
    (folder / "manifest.csv").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (JPEG, "jpeg"),
        (b"\x89PNG\r\n\x1a\n....", "png"),
        (b"\0" * 128 + b"DICM", "dicom"),
        (b"P5\n10 10", "pgm"),
        (b"P2 10", "pgm"),
        (b"MM\0*", "tiff"),
        (b"II*\0", "tiff"),
        (b"P5x", "unknown"),
        (b"", "unknown"),
        (b"\0" * 132, "unknown"),
    ],
)
def test_formats_are_known_by_their_first_bytes(head: bytes, kind: str) -> None:
    assert sniff(head) == kind


def test_classes_are_folders_in_any_case_at_any_depth(tmp_path: Path) -> None:
    put(tmp_path, "train/Benign/Łukasz 1.JPG")
    put(tmp_path, "MALIGNANT/乳房 2.png")
    put(tmp_path, "benign/malignant/x.jpg")  # the innermost folder counts
    scan = scan_folder(tmp_path)
    assert {image.name: image.label for image in scan.images} == {
        "train/Benign/Łukasz 1.JPG": "benign",
        "MALIGNANT/乳房 2.png": "malignant",
        "benign/malignant/x.jpg": "malignant",
    }
    assert scan.patient_source == "none"
    assert any("split by patient is impossible" in line for line in scan.warnings)


def test_other_files_are_counted_and_empty_or_broken_images_kept(tmp_path: Path) -> None:
    put(tmp_path, "benign/a.jpg", b"")
    put(tmp_path, "malignant/b.jpg", b"garbage")
    put(tmp_path, "malignant/c", b"\0" * 128 + b"DICM")  # DICOM files often have no suffix
    put(tmp_path, "benign/Thumbs.db", b"x")
    put(tmp_path, "README", b"x")
    put(tmp_path, ".hidden/d.jpg")
    put(tmp_path, "benign/._a.jpg")
    scan = scan_folder(tmp_path)
    assert [image.name for image in scan.images] == [
        "benign/a.jpg",
        "malignant/b.jpg",
        "malignant/c",
    ]
    assert scan.ignored == 2
    assert "2 files are no images and stay behind" in scan.warnings


def test_pattern_finds_patients_in_names(tmp_path: Path) -> None:
    put(tmp_path, "benign/105_1.jpg")
    put(tmp_path, "malignant/106_1.jpg")
    scan = scan_folder(tmp_path, patient_pattern=r"/(?P<patient>\d+)_")
    assert [image.patient for image in scan.images] == ["105", "106"]
    assert scan.patient_source == "pattern"
    assert not scan.warnings


@pytest.mark.parametrize("pattern", ["(", "105", ""])
def test_bad_patterns_are_refused(tmp_path: Path, pattern: str) -> None:
    put(tmp_path, "benign/105_1.jpg")
    with pytest.raises(DataError, match="--patient-pattern") as caught:
        scan_folder(tmp_path, patient_pattern=pattern)
    assert caught.value.exit_code == 2


def test_names_without_a_patient_are_refused_or_left_out(tmp_path: Path) -> None:
    for name in ("benign/105_1.jpg", "benign/odd.jpg", "malignant/106_1.jpg"):
        put(tmp_path, name)
    with pytest.raises(DataError, match="finds no patient") as caught:
        scan_folder(tmp_path, patient_pattern=r"(\d+)_")
    assert caught.value.details == ["benign/odd.jpg"]
    scan = scan_folder(tmp_path, patient_pattern=r"(\d+)_", skip_bad=True)
    assert len(scan.images) == 2
    assert any(line.startswith("left out 1") for line in scan.warnings)


def test_manifest_gives_labels_and_patients(tmp_path: Path) -> None:
    put(tmp_path, "a b.jpg")
    put(tmp_path, "sub/c.dcm")
    put(tmp_path, "sub/unlabelled.jpg")
    manifest(
        tmp_path,
        "\ufeffFile; Label ;patient_id;age\na b.jpg;Benign;P1;50\nsub\\c.dcm;MALIGNANT;P2;\n\n",
    )
    scan = scan_folder(tmp_path)
    assert [(image.name, image.label, image.patient) for image in scan.images] == [
        ("a b.jpg", "benign", "P1"),
        ("sub/c.dcm", "malignant", "P2"),
    ]
    assert scan.patient_source == "manifest"
    assert scan.warnings == [
        "1 image files are not in the manifest and stay behind: they have no label"
    ]


def test_every_bad_row_is_named_at_once(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    put(tmp_path, "b.jpg")
    rows = ["a.jpg,benign", "b.jpg,malignant", "gone.jpg,benign", "a.jpg,malignant"]
    rows += ["b.jpg,normal", "../a.jpg,benign", "/etc/passwd,benign", ",benign"]
    manifest(tmp_path, "file,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(DataError) as caught:
        scan_folder(tmp_path)
    assert caught.value.exit_code == 2
    assert "1 labels without a file" in caught.value.message
    assert "1 labels other than benign and malignant" in caught.value.message
    assert "3 files outside the folder" in caught.value.message
    assert "line 4: gone.jpg" in caught.value.details
    assert "line 5: a.jpg: also in line 2" in caught.value.details
    assert "line 6: b.jpg: label 'normal'" in caught.value.details
    assert "--skip-bad" in caught.value.hint
    assert len(scan_folder(tmp_path, skip_bad=True).images) == 2


def test_long_lists_are_shortened(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    rows = "".join(f"gone{n}.jpg,benign\n" for n in range(40))
    manifest(tmp_path, "file,label\na.jpg,malignant\n" + rows)
    with pytest.raises(DataError, match="40 labels without a file") as caught:
        scan_folder(tmp_path)
    assert caught.value.details[-1] == "... and 35 more"
    assert len(caught.value.details) == 6


def test_rows_without_a_patient_are_told(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    put(tmp_path, "b.jpg")
    manifest(tmp_path, "file,label,patient_id\na.jpg,benign,\nb.jpg,malignant,P1\n")
    scan = scan_folder(tmp_path)
    assert "the patients of 1 images" in scan.warnings[0]
    assert scan.patient_source == "manifest"


def test_an_empty_column_says_nothing_about_patients(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    put(tmp_path, "b.jpg")
    put(tmp_path, "c.dcm")  # its header may tell
    manifest(tmp_path, "file,label,patient_id\na.jpg,benign,\nb.jpg,malignant,\nc.dcm,benign,\n")
    scan = scan_folder(tmp_path)
    assert scan.patient_source == "none"
    assert "the patients of 2 images" in scan.warnings[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\na.jpg,benign\n", "no column file"),
        ("", "no column file and no column label"),
    ],
)
def test_unusable_manifests_are_refused(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path, "a.jpg")
    manifest(tmp_path, text)
    with pytest.raises(DataError, match=message):
        scan_folder(tmp_path)


def test_manifest_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes("file,label\nzdjęcie.jpg,benign\n".encode("iso8859-2"))
    with pytest.raises(DataError, match="not UTF-8"):
        scan_folder(tmp_path)


def test_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the manifest"):
        scan_folder(tmp_path, manifest=tmp_path / "no.csv")


def test_manifest_and_pattern_contradict(tmp_path: Path) -> None:
    manifest(tmp_path, "file,label,patient_id\n")
    with pytest.raises(DataError, match="both"):
        scan_folder(tmp_path, patient_pattern="(a)")


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=name):
        scan_folder(tmp_path / name)


def test_nothing_to_read(tmp_path: Path) -> None:
    put(tmp_path, "benign/notes.txt", b"x")
    with pytest.raises(DataError, match=r"no images .* \(1 other files\)"):
        scan_folder(tmp_path)


def test_one_class_only(tmp_path: Path) -> None:
    put(tmp_path, "benign/a.jpg")
    with pytest.raises(DataError, match="none of them malignant"):
        scan_folder(tmp_path)


def test_images_of_a_third_class_are_refused(tmp_path: Path) -> None:
    for name in ("benign/a.jpg", "malignant/b.jpg", "normal/c.jpg"):
        put(tmp_path, name)
    with pytest.raises(DataError, match="no folder called benign or malignant") as caught:
        scan_folder(tmp_path)
    assert caught.value.details == ["normal/c.jpg"]
    assert len(scan_folder(tmp_path, skip_bad=True).images) == 2


def test_links_in_a_circle_and_special_files_end(tmp_path: Path) -> None:
    put(tmp_path, "benign/a.jpg")
    put(tmp_path, "malignant/b.jpg")
    (tmp_path / "benign" / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "benign" / "pipe")
    assert len(scan_folder(tmp_path).images) == 2
    os.mkfifo(tmp_path / "benign" / "pipe.jpg")
    with pytest.raises(DataError, match="cannot be read") as caught:
        scan_folder(tmp_path)
    assert caught.value.details == ["benign/pipe.jpg: not a regular file"]


def test_what_the_manifest_tells_is_taken_from_short_lists(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    put(tmp_path, "b.jpg")
    manifest(
        tmp_path,
        "file,label,view,laterality,age,density,machine_id,site_id,birads\n"
        "a.jpg,benign, mlo ,right,93.0,2,29,1,5\n"
        "b.jpg,malignant,Jane,Smith,old,x,,,5\n",
    )
    first, second = scan_folder(tmp_path).images
    assert first.about == About("MLO", "R", "90", "B", "29", "1")
    assert second.about == About()


def test_images_to_be_judged_need_no_labels(tmp_path: Path) -> None:
    put(tmp_path, "benign/a.jpg")
    put(tmp_path, "new/b.dcm")
    put(tmp_path, "notes.txt", b"text")
    scan = scan_folder(tmp_path, unlabelled=True)
    assert {image.name: image.label for image in scan.images} == {
        "benign/a.jpg": "",
        "new/b.dcm": "",
    }
    assert scan.ignored == 1
    assert not any("split" in line for line in scan.warnings)
    manifest(tmp_path, "file,patient_id,label\nnew/b.dcm,p1,whatever\n")
    scan = scan_folder(tmp_path, unlabelled=True)
    assert [(image.name, image.label, image.patient) for image in scan.images] == [
        ("new/b.dcm", "", "p1")
    ]
    with pytest.raises(DataError, match="no images") as caught:
        scan_folder(put(tmp_path / "empty", ".hidden").parent, unlabelled=True)
    assert "benign" not in caught.value.hint
