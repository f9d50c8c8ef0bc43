"""Losses say along which dimension they look for classes."""

import braze
import pytest
from braze.ir.errors import IndexingError, ShapeError
from braze.nn import functional as F


def test_classes_along_another_dimension():
    with pytest.raises(ShapeError, match=r"classes are along dimension 1, .* shape \[8, 50\].*moveaxis\(-1, 1\)"):
        F.cross_entropy(braze.zeros(8, 20, 50), braze.zeros(8, 20, dtype="int64"))
    loss = F.cross_entropy(braze.zeros(8, 20, 50).moveaxis(-1, 1), braze.zeros(8, 20, dtype="int64"))
    assert abs(float(loss) - 3.912023) < 1e-5


def test_a_class_that_is_none():
    with pytest.raises(IndexingError, match="class 7 is outside the 5 classes of the input, which are along its dimen"):
        F.cross_entropy(braze.zeros(2, 5), braze.tensor([1, 7]))
