from __future__ import annotations

from pathlib import Path

import pytest

from mammoctl.data.scan import scan_folder
from mammoctl.errors import DataError

INFO = """INFORMATION:
1st column: MIAS database reference number.
=================
mdb001 G CIRC B 535 425 197
mdb002 G CIRC B 522 280 69
mdb003 D NORM
mdb004 D NORM
mdb005 F CIRC B 477 133 30
mdb005 F CIRC M 500 168 26
mdb216 D CALC M *NOTE 3*
"""

CBIS = (
    "patient_id,breast density,left or right breast,image view,abnormality id,abnormality type,"
    "pathology,image file path,cropped image file path"
)
CALC = CBIS.replace("breast density", "breast_density")


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_mini_mias(tmp_path: Path) -> None:
    (tmp_path / "Info.txt").write_text(INFO)
    (tmp_path / "Licence.txt").write_text("x")
    put(tmp_path, *(f"mdb00{n}.pgm" for n in (1, 2, 3, 5)))
    put(tmp_path, "more/mdb216.pgm")
    scan = scan_folder(tmp_path)
    found = {image.name: image for image in scan.images}
    labels = {name: image.label for name, image in found.items()}
    assert labels == {
        **dict.fromkeys(("mdb001.pgm", "mdb002.pgm", "mdb003.pgm"), "benign"),
        **dict.fromkeys(("mdb005.pgm", "more/mdb216.pgm"), "malignant"),
    }
    assert found["mdb001.pgm"].patient == found["mdb002.pgm"].patient
    assert found["mdb003.pgm"].patient != found["mdb002.pgm"].patient
    assert found["mdb001.pgm"].about.laterality == "R"
    assert found["mdb002.pgm"].about.laterality == "L"
    assert {i.about.density for i in scan.images} == {"fatty", "glandular", "dense"}
    assert any("1 of the 6 images" in text for text in scan.warnings)
    assert any("normal images count as benign" in text for text in scan.warnings)
    assert scan.patient_source == "manifest"


def test_cbis_ddsm_as_listed_and_as_downloaded(tmp_path: Path) -> None:
    one = "Mass-Training_P_00001_LEFT_CC/1.3.6.1/1.3.6.2/000000.dcm"
    two = "Calc-Training_P_00007_RIGHT_MLO/1.3.6.3/1.3.6.4/000000.dcm"
    mass = tmp_path / "mass_case_description_train_set.csv"
    mass.write_text(
        f"{CBIS}\n"
        f"P_00001,3,LEFT,CC,1,mass,BENIGN_WITHOUT_CALLBACK,{one},x\n"
        f"P_00001,3,LEFT,CC,2,mass,MALIGNANT,{one},x\n"
    )
    calc = tmp_path / "calc_case_description_train_set.csv"
    calc.write_text(f"{CALC}\nP_00007,1,RIGHT,MLO,1,calcification,BENIGN,{two},x\n")
    put(tmp_path, one)
    put(tmp_path, "Calc-Training_P_00007_RIGHT_MLO/08-07-2016-DDSM-1/1.000-full-2/1-1.dcm")
    scan = scan_folder(tmp_path)
    found = {image.patient: image for image in scan.images}
    assert found["P_00001"].label == "malignant"
    assert found["P_00001"].name == one
    assert found["P_00007"].label == "benign"
    assert found["P_00007"].name.endswith("1-1.dcm")
    about = found["P_00007"].about
    assert (about.view, about.laterality, about.density) == ("MLO", "R", "A")


def test_a_changed_description_is_told(tmp_path: Path) -> None:
    (tmp_path / "mass_case_description_test_set.csv").write_text("patient_id,pathology\nx,BENIGN\n")
    with pytest.raises(DataError, match="no column image file path, image view"):
        scan_folder(tmp_path)


def test_another_info_file_means_nothing(tmp_path: Path) -> None:
    (tmp_path / "Info.txt").write_text("hello")
    put(tmp_path, "benign/a.jpg", "malignant/b.jpg")
    assert len(scan_folder(tmp_path).images) == 2
