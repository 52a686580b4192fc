import hashlib
from dataclasses import replace

import pytest
from mammotrain.dataset import Dataset, Image, Row, check_usable, sort_out, without_patient
from mammotrain.errors import LeakError, UnusableInput
from mammotrain.split import check_split, folds, split

IMAGES = [
    Image(f"i{p}-{k}", f"p{p}", int(p % 3 == 0 and k < 2), f"{p}-{k}")
    for p in range(60)
    for k in range(1 + p % 4)
]
FRACTIONS = {"validation": 0.2, "test": 0.1}


def patients(part):
    return {image.patient_id for image in part}


def test_no_patient_is_in_two_parts_and_none_is_lost():
    parts = split(IMAGES, FRACTIONS, 0)
    assert list(parts) == ["train", "validation", "test"]
    assert sum(len(part) for part in parts.values()) == len(IMAGES)
    groups = [patients(part) for part in parts.values()]
    assert sum(len(group) for group in groups) == len(set.union(*groups)) == 60


def test_the_shares_hold_in_each_class():
    parts = split(IMAGES, FRACTIONS, 0)
    ill = {image.patient_id for image in IMAGES if image.label}
    assert len(ill) == 20
    assert [len(patients(part)) for part in parts.values()] == [42, 12, 6]
    assert [len(patients(part) & ill) for part in parts.values()] == [14, 4, 2]


def test_the_split_depends_on_the_seed_and_not_on_the_order():
    assert split(IMAGES, FRACTIONS, 0) == split(IMAGES[::-1], FRACTIONS, 0)
    assert split(IMAGES, FRACTIONS, 0) != split(IMAGES, FRACTIONS, 1)


def test_the_split_is_the_same_under_other_pseudonyms():
    def files(images):
        return {name: [image.sha256 for image in part] for name, part in images.items()}

    def renamed(name):
        return hashlib.sha256(name.encode()).hexdigest()

    elsewhere = [
        replace(image, image_id=renamed(image.image_id), patient_id=renamed(image.patient_id))
        for image in IMAGES
    ]
    assert files(split(elsewhere, FRACTIONS, 0)) == files(split(IMAGES, FRACTIONS, 0))
    assert files(dict(enumerate(folds(elsewhere, 5, 0)))) == files(
        dict(enumerate(folds(IMAGES, 5, 0)))
    )


def test_parts_can_be_left_out():
    assert list(split(IMAGES, {"validation": 0.0, "test": 0.0}, 0)) == ["train"]


def test_small_strata_still_reach_every_part():
    few = [Image(f"i{p}", f"p{p}", int(p < 2), str(p)) for p in range(10)]
    parts = split(few, {"validation": 0.05}, 0)
    assert sum(image.label for image in parts["validation"]) == 1


def test_folds_hold_every_patient_once_and_both_classes():
    parts = folds(IMAGES, 5, 0)
    groups = [patients(part) for part in parts]
    assert sum(len(group) for group in groups) == len(set.union(*groups)) == 60
    ill = {image.patient_id for image in IMAGES if image.label}
    assert [len(group & ill) for group in groups] == [4] * 5
    assert folds(IMAGES[::-1], 5, 0) == parts != folds(IMAGES, 5, 1)


def test_more_folds_than_patients_are_refused():
    with pytest.raises(UnusableInput, match=r"20 patients with a malignant image .* 21 folds"):
        folds(IMAGES, 21, 0)


def test_a_leak_is_refused():
    with pytest.raises(LeakError, match="two parts"):
        check_split({"train": IMAGES[:4], "validation": IMAGES[:1]})


def test_training_needs_both_classes():
    few = [Image("a", "p1", 1, "1"), Image("b", "p1", 0, "2"), Image("c", "p2", 0, "3")]
    with pytest.raises(UnusableInput, match=r"one class|nobody"):
        split(few, {"validation": 0.9}, 0)


def test_a_part_with_one_class_only_is_refused_with_a_mend():
    """The one patient who is ill trains: nobody could judge or choose a threshold."""
    few = [Image(f"i{p}", f"p{p}", int(p == 0), str(p)) for p in range(10)]
    with pytest.raises(UnusableInput, match=r"the validation part .* nothing malignant.* 0$"):
        split(few, {"validation": 0.2}, 0)
    assert len(split(few, {"validation": 0.0}, 0)["train"]) == 10


def test_images_without_a_patient_are_counted():
    some = [Image("a", "a", 0, "1"), Image("b", "p1", 1, "2")]
    assert without_patient(some) == 1
    told = {"patient_source": "manifest"}
    assert Dataset(None, some, [], told).by_patient
    assert not Dataset(None, some[:1], [], told).by_patient  # a column that is empty


def test_rows_are_sorted_out_with_a_reason():
    rows = [
        ("b", "p1", "Malignant ", "1"),
        ("a", "p1", "benign", "2"),
        ("c", "p2", "benign", "1"),
        ("a", "p3", "benign", "4"),
        ("d", None, "benign", "5"),
        ("e", "p4", None, "6"),
        ("f", "p4", "Jane Smith", "7"),
        ("g", "p4", "benign", None),
        (None, "p4", "benign", "8"),
        ("h", "p4", "benign", "9", "truncated or damaged"),
    ]
    images, rejects = sort_out([Row(*row) for row in rows], by_patient=True)
    assert images == [Image("a", "p1", 0, "2"), Image("b", "p1", 1, "1")]
    assert {(r.image_id, r.reason) for r in rejects} == {
        ("a", "image id appears twice"),
        ("c", "same content as another image"),
        ("d", "no patient"),
        ("e", "no label"),
        ("f", "label is neither benign nor malignant"),
        ("g", "no checksum"),
        ("h", "truncated or damaged"),
        ("row-0", "no image id"),
    }


def test_without_patients_each_image_is_its_own():
    images, rejects = sort_out([Row("a", None, "benign", "1")], by_patient=False)
    assert images[0].patient_id == "a"
    assert rejects == []


@pytest.mark.parametrize(
    ("images", "parts", "message"),
    [
        ([], 2, "no usable image"),
        (IMAGES[1:4], 2, "all usable images are benign"),
        ([*IMAGES[:1], Image("z", "p0", 0, "z")], 2, "1 patient.* into 2 parts"),
    ],
)
def test_unusable_data_sets(images, parts, message):
    with pytest.raises(UnusableInput, match=message):
        check_usable(images, [], parts)
