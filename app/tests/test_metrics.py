import math

import numpy as np
import pytest
from mammotrain.metrics import accuracy, auc, auc_interval, cross_entropy, evaluate
from sklearn.metrics import log_loss, roc_auc_score

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("levels", [3, 20, 10_000])
def test_auc_agrees_with_scikit_learn_with_and_without_ties(levels):
    y = RNG.integers(0, 2, 300)
    s = RNG.integers(0, levels, 300) / levels + 0.1 * y
    assert auc(y, s) == pytest.approx(roc_auc_score(y, s), abs=1e-12)


def test_auc_of_one_class_is_undefined():
    assert math.isnan(auc([1, 1], [0.1, 0.2]))


def test_cross_entropy_and_accuracy():
    y, s = RNG.integers(0, 2, 100), RNG.random(100)
    assert cross_entropy(y, s) == pytest.approx(log_loss(y, s), abs=1e-9)
    assert accuracy(y, s) == np.mean((s >= 0.5) == y)


def test_the_interval_is_wider_when_images_of_a_patient_are_copies():
    y = np.repeat(RNG.integers(0, 2, 80), 5)
    s = np.repeat(RNG.random(80), 5) + 0.3 * y
    one_each = auc_interval(y, s, [str(i) for i in range(400)], rounds=400)
    grouped = auc_interval(y, s, [str(i // 5) for i in range(400)], rounds=400)
    assert grouped[1] - grouped[0] > 1.8 * (one_each[1] - one_each[0])
    assert grouped[0] < auc(y, s) < grouped[1]


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    # Scores N(0,1) and N(1,1): AUC = Phi(1/sqrt(2)).
    truth = 0.5 * (1 + math.erf(0.5))
    hits = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        y = rng.integers(0, 2, 80)
        low, high = auc_interval(
            y, rng.normal(y, 1), [str(i) for i in range(80)], rounds=200, seed=trial
        )
        hits += low <= truth <= high
    assert 50 <= hits <= 60


def test_the_interval_repeats_with_the_seed_and_is_none_for_one_class():
    y, s = RNG.integers(0, 2, 50), RNG.random(50)
    who = [str(i // 2) for i in range(50)]
    assert auc_interval(y, s, who, rounds=100) == auc_interval(y, s, who, rounds=100)
    assert auc_interval(np.zeros(50), s, who, rounds=20) is None


def test_evaluate():
    result = evaluate(
        [1, 1, 1, 0, 0], [0.9, 0.6, 0.2, 0.7, 0.1], list("aabbc"), majority=1, rounds=50
    )
    assert result["confusion"] == {
        "true_positive": 2,
        "false_positive": 1,
        "true_negative": 1,
        "false_negative": 1,
    }
    assert result["sensitivity"] == pytest.approx(2 / 3)
    assert result["specificity"] == pytest.approx(1 / 2)
    assert result["accuracy"] == pytest.approx(3 / 5)
    assert result["majority_class_accuracy"] == pytest.approx(3 / 5)
    assert (result["images"], result["patients"]) == (5, 3)
