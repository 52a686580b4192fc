import math
from dataclasses import replace

import numpy as np
import pytest
from mammotrain import calibration, curves
from mammotrain.assess import assess, choose, compare
from mammotrain.baseline import Metadata, fit_logistic, metadata_scores
from mammotrain.bootstrap import draws, intervals
from mammotrain.dataset import Image
from mammotrain.groups import age_group, by_breast, by_group
from mammotrain.metrics import auc, auc_draws, paired_auc_difference
from sklearn.metrics import average_precision_score, brier_score_loss, roc_curve

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, 300)
S = np.clip(RNG.normal(0.4 + 0.2 * Y, 0.2), 0.01, 0.99).round(2)
WHO = [f"p{i // 3}" for i in range(300)]


def test_roc_agrees_with_scikit_learn():
    false, true, thresholds = curves.roc(Y, S)
    expected = roc_curve(Y, S, drop_intermediate=False)
    for mine, theirs in zip((false, true, thresholds), expected, strict=True):
        assert np.allclose(mine, theirs)
    assert np.trapezoid(true, false) == pytest.approx(auc(Y, S), abs=1e-12)


def test_average_precision_agrees_with_scikit_learn():
    assert curves.average_precision(Y, S) == pytest.approx(average_precision_score(Y, S))


def test_one_class_has_no_curves():
    assert math.isnan(curves.average_precision([1, 1], [0.1, 0.2]))
    assert math.isnan(curves.sensitivity_at([0, 0], [0.1, 0.2], 0.9))
    assert curves.best_threshold([0, 0], [0.1, 0.2]) == 0.5


@pytest.mark.parametrize("fixed", [0.5, 0.9, 1.0])
def test_fixed_points_are_the_best_threshold_that_keeps_them(fixed):
    thresholds = np.append(np.unique(S), 2.0)
    sensitivity = [np.mean(S[Y == 1] >= t) for t in thresholds]
    specificity = [np.mean(S[Y == 0] < t) for t in thresholds]
    best = max(a for a, b in zip(sensitivity, specificity, strict=True) if b >= fixed)
    assert curves.sensitivity_at(Y, S, fixed) == pytest.approx(best)
    best = max(b for a, b in zip(sensitivity, specificity, strict=True) if a >= fixed)
    assert curves.specificity_at(Y, S, fixed) == pytest.approx(best)


def test_the_chosen_threshold_is_the_best_one():
    def youden(t):
        return np.mean(S[Y == 1] >= t) + np.mean(S[Y == 0] < t)

    best = max(youden(t) for t in np.linspace(0, 1.01, 400))
    assert youden(curves.best_threshold(Y, S)) == pytest.approx(best)
    assert curves.best_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.8]) == pytest.approx(0.4)


def test_brier_and_reliability():
    assert calibration.brier(Y, S) == pytest.approx(brier_score_loss(Y, S))
    parts = calibration.reliability(Y, S)
    assert sum(part["images"] for part in parts) == 300
    part = next(part for part in parts if part["low"] == 0.3)
    inside = (S >= 0.3) & (S < 0.4)
    assert part["images"] == inside.sum()
    assert part["malignant"] == pytest.approx(Y[inside].mean())
    assert calibration.calibration_error([0, 1], [0.0, 1.0]) == 0


def test_temperature_undoes_what_made_the_scores_overconfident():
    rng = np.random.default_rng(1)
    x = rng.normal(-0.5, 1.0, 20_000)
    y = rng.random(20_000) < calibration.sigmoid(x)
    sharp = calibration.sigmoid(3 * x + 2)
    temperature, shift = calibration.fit_temperature(y, sharp)
    assert temperature == pytest.approx(3, rel=0.1)
    assert shift == pytest.approx(-2 / 3, abs=0.1)
    smooth = calibration.calibrated(sharp, temperature, shift)
    assert calibration.calibration_error(y, smooth) < 0.02 < calibration.calibration_error(y, sharp)
    assert auc(y, smooth) == pytest.approx(auc(y, sharp), abs=1e-6)


@pytest.mark.parametrize("scores", [[0.1, 0.2, 0.8, 0.9], [0.9, 0.8, 0.2, 0.1], [0.5] * 4])
def test_temperature_stays_finite_and_never_turns_the_order_round(scores):
    temperature, shift = calibration.fit_temperature([0, 0, 1, 1], scores)
    assert 0.05 <= temperature <= 20
    assert math.isfinite(shift)
    assert np.isfinite(calibration.calibrated(scores, temperature, shift)).all()


def test_patients_are_drawn_whole_and_repeatably():
    index = next(draws(WHO, 1, 0))
    counts = np.bincount(index, minlength=300).reshape(100, 3)
    assert (counts == counts[:, :1]).all()
    assert np.array_equal(index, next(draws(WHO, 1, 0)))


@pytest.mark.parametrize("pairs", [4_000_000, 500])
def test_the_auc_of_all_samples_at_once_is_that_of_each(monkeypatch, pairs):
    monkeypatch.setattr("mammotrain.metrics.PAIRS_AT_ONCE", pairs)
    found = auc_draws(Y, S, WHO, rounds=30, seed=3)
    expected = [auc(Y[index], S[index]) for index in draws(WHO, 30, 3)]
    assert found == pytest.approx(expected, abs=1e-6)
    assert len(set(expected)) == 30
    one = auc_draws(np.zeros(9), S[:9], WHO[:9], rounds=4, seed=0)
    assert np.isnan(one).all()


def test_an_undefined_statistic_has_no_interval():
    spans = intervals({"auc": auc}, np.zeros(9), S[:9], WHO[:9], rounds=20, seed=0)
    assert spans == {"auc": None}


def test_a_paired_difference_is_narrower_than_its_two_intervals():
    better = S + 0.05 * Y
    found = paired_auc_difference(Y, better, S, WHO, rounds=200, seed=0)
    alone = intervals({"auc": auc}, Y, S, WHO, rounds=200, seed=0)["auc"]
    low, high = found["interval_95"]
    assert found["difference"] == pytest.approx(auc(Y, better) - auc(Y, S))
    assert 0 < low < found["difference"] < high
    assert high - low < alone[1] - alone[0]


def images(**about):
    return [
        Image(
            f"i{n}",
            WHO[n],
            int(Y[n]),
            str(n),
            {
                "age": str(40 + n % 45),
                "laterality": "LR"[n % 2],
                "view": ("CC", "MLO")[n // 2 % 2],
                **about,
            },
        )
        for n in range(300)
    ]


def test_groups():
    found = by_group(images(), S, rounds=50, seed=0)
    assert set(found) == {"view", "laterality", "age"}
    assert set(found["view"]) == {"CC", "MLO"}
    assert sum(group["images"] for group in found["age"].values()) == 300
    rows = [n for n in range(300) if n // 2 % 2 == 0]
    assert found["view"]["CC"]["auc"] == pytest.approx(auc(Y[rows], S[rows]))
    low, high = found["view"]["CC"]["auc_interval_95"]
    assert low < found["view"]["CC"]["auc"] < high
    few = by_group(images()[:9], S[:9], rounds=50, seed=0)
    assert few["view"]["CC"]["auc"] is None


@pytest.mark.parametrize(
    ("age", "group"),
    [
        *(("39", "under 40"), ("57.0", "50 to 59"), ("90", "70 or older"), ("", ""), ("x", "")),
        *(("250", ""), ("-3", ""), ("inf", ""), ("nan", "")),
    ],
)
def test_age_groups(age, group):
    assert age_group(age) == group


def test_breasts_average_their_views():
    some = [
        Image("a", "p", 0, "1", {"laterality": "L"}),
        Image("b", "p", 1, "2", {"laterality": "L"}),
        Image("c", "p", 0, "3", {"laterality": "R"}),
    ]
    breasts, scores, left_out = by_breast(some, np.array([0.2, 0.6, 0.1]))
    assert left_out == 0
    assert [image.label for image in breasts] == [1, 0]
    assert scores == pytest.approx([0.4, 0.1])
    assert by_breast([Image("a", "p", 0, "1")], np.array([0.5])) is None


def test_images_without_a_side_are_left_out_of_the_breasts_and_counted():
    some = images()
    some[7] = Image("i7", WHO[7], int(Y[7]), "7", {"laterality": "B"})
    some[8] = Image("i8", WHO[8], int(Y[8]), "8")
    found = compare(some, some, S, rounds=20, seed=0)["per_breast"]
    assert found["images_without_side"] == 2
    assert found["auc"] is not None
    assert compare(images(), images(), S, rounds=20, seed=0)["per_breast"]["images"] == 200


def test_intervals_are_the_same_under_other_pseudonyms():
    elsewhere = [replace(one, patient_id=one.patient_id[::-1]) for one in images()]
    assert len({one.patient_id for one in elsewhere}) == 100
    one, two = (compare(some, some, S, rounds=50, seed=0) for some in (images(), elsewhere))
    assert one == two
    chosen = choose("validation", Y, S)
    assert assess(images(), S, chosen, rounds=20, seed=0) == assess(
        elsewhere, S, chosen, rounds=20, seed=0
    )


def test_the_metadata_baseline_finds_what_metadata_tell():
    telling = [
        Image(f"i{n}", f"p{n}", int(Y[n]), str(n), {"age": str(50 + 20 * int(Y[n]))})
        for n in range(300)
    ]
    assert auc(Y[150:], metadata_scores(telling[:150], telling[150:])) == 1
    assert metadata_scores([Image("a", "p", 0, "1")], telling) is None
    mute = [Image(f"i{n}", f"p{n}", int(Y[n]), str(n)) for n in range(300)]
    assert np.isfinite(metadata_scores(telling[:150], mute)).all()


def test_the_regression_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    x = np.column_stack([RNG.normal(size=300), RNG.integers(0, 2, (300, 3)), Y * 0.3])
    slopes, start = fit_logistic(x, Y)
    model = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-10, max_iter=5000).fit(x, Y)
    assert slopes == pytest.approx(model.coef_[0], abs=1e-4)
    assert start == pytest.approx(model.intercept_[0], abs=1e-4)
    separable = fit_logistic(Y[:, None].astype(float), Y)
    assert np.isfinite(separable[0]).all()


def test_rare_and_unknown_values_have_no_column():
    some = [Image(f"i{n}", f"p{n}", 0, str(n), {"view": "CC" if n else "LM"}) for n in range(20)]
    assert Metadata(some).columns == [("view", "CC")]
    assert "birads" not in str(Metadata(images(birads="5", biopsy="1")).columns)


def test_a_part_is_assessed_with_what_was_chosen_on_another():
    chosen = choose("validation", Y[:150], S[:150])
    found = assess(images(), S, chosen, rounds=50, seed=0)
    called = chosen.threshold <= S
    assert found["at_threshold"]["sensitivity"] == pytest.approx(np.mean(called[Y == 1]))
    assert found["auc_pr"]["interval_95"][0] < found["auc_pr"]["value"]
    assert set(found["sensitivity_at_specificity"]) == {"0.8", "0.9", "0.95"}
    assert len(found["roc"]["true_positive_rate"]) <= 200
    assert found["roc"]["true_positive_rate"][-1] == 1
    more = compare(images()[:150], images()[150:], S[150:], rounds=50, seed=0)
    assert more["per_breast"]["images"] == 100
    assert 0 < more["metadata_baseline"]["auc"] < 1
    assert more["metadata_baseline"]["model_minus_baseline"]["interval_95"] is not None
