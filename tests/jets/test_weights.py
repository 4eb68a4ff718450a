"""Which column weighs the jets, and what weights must be."""

import numpy as np
import pytest
import torch

from jetsym.errors import ConfigError, DataError
from jetsym.jets.weights import (
    as_weights,
    check_weights,
    describe_weights,
    effective_number,
    weight_column,
    weights_in_words,
)


def test_one_rule_says_which_column_counts():
    assert weight_column(["mass", "weight"], None) == "weight"
    assert weight_column(["mass"], None) is None
    assert weight_column(["mass", "weight"], "none") is None
    assert weight_column(["mass", "weight"], "mass") == "mass"
    with pytest.raises(ConfigError, match=r"weights is 'mas', which is no column of the jets; .*'mass'.*columns: {wei"):
        weight_column(["mass", "weight"], "mas")


def test_weights_are_finite_and_one_for_each_jet():
    assert as_weights(None, 3).tolist() == [1, 1, 1]
    assert as_weights(torch.tensor([1, -2]), 2).tolist() == [1, -2]
    with pytest.raises(DataError, match=r"weights have shape \(3,\); expected \(2,\)"):
        as_weights(np.ones(3), 2)
    with pytest.raises(DataError, match="2 of 4 weights are NaN or infinite, the first at jet 1"):
        as_weights(np.array([1, np.nan, np.inf, 1]), 4)


def test_a_class_counts_more_than_nothing():
    label = np.array([0, 0, 1, 1, 1])
    check_weights(np.array([1, -0.5, 1, 1, -1]), label, ("a", "b", "c"))
    for weights, said in (
        ([1, -1, 1, 1, 1], "2 jets of 'a' sum to 0"),
        ([1, 1, 1, -2, 0.5], "3 jets of 'b' sum to -0."),
    ):
        with pytest.raises(DataError, match=said):
            check_weights(np.array(weights, float), label, ("a", "b", "c"))


def test_effective_numbers():
    rng = np.random.default_rng(0)
    weights = rng.normal(1, 1, 1000)
    assert effective_number(weights) == pytest.approx(sum(weights) ** 2 / sum(weights**2), rel=1e-12)
    assert effective_number(np.full(999, 0.1)) == 999  # in spite of rounding
    assert effective_number(np.zeros(3)) == 0
    assert effective_number(np.ones(0)) == 0
    found = describe_weights("w", weights)
    assert found["negative"] == np.mean(weights < 0)
    assert f"({100 * found['negative']:.2g} % negative)" in weights_in_words(found, 1000)
