"""What golden numbers do not say: initial values, dropout, sizes that vary, derivatives by differences, errors, other
back ends."""

import math

import braze
import numpy as np
import pytest
from braze import nn
from braze.nn import functional as F


@pytest.fixture(autouse=True)
def seed():
    braze.manual_seed(7)


def test_initial_values_are_drawn_as_pytorch_draws_them():
    m = nn.Linear(400, 300)
    bound = 1 / math.sqrt(400)
    for p in m.parameters():
        values = np.asarray(p)
        assert abs(values).max() <= bound and abs(values).max() > 0.95 * bound and abs(values.mean()) < 0.1 * bound
    weight = np.asarray(nn.Conv2d(8, 64, 3).weight)
    assert abs(weight).max() <= 1 / math.sqrt(72)


@pytest.mark.parametrize("name, std", [
    ("xavier_uniform_", math.sqrt(2 / 500)), ("xavier_normal_", math.sqrt(2 / 500)),
    ("kaiming_uniform_", math.sqrt(2 / 200)),
    ("kaiming_normal_", math.sqrt(2 / 200)), ("normal_", 1.0), ("uniform_", math.sqrt(1 / 12)),
    ("trunc_normal_", 0.8796)])
def test_initialisers_have_their_spread(name, std):
    t = braze.zeros(300, 200)
    getattr(nn.init, name)(t)
    assert np.asarray(t).std() == pytest.approx(std, rel=0.02)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (4, 3, 2)])
def test_orthogonal_rows_or_columns(shape):
    t = nn.init.orthogonal_(braze.zeros(*shape), 2.0)
    m = np.asarray(t).reshape(shape[0], -1)
    gram = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_dropout_keeps_the_mean_and_drops_its_share(compiled):
    m = nn.Dropout(0.3)
    f = braze.compile(m) if compiled else m
    x = braze.ones(200, 200, requires_grad=True)
    y = f(x)
    values = np.asarray(y)
    assert (values == 0).mean() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_allclose(values[values != 0], 1 / 0.7, rtol=1e-6)
    y.sum().backward()
    np.testing.assert_array_equal(np.asarray(x.grad), values)
    assert (np.asarray(f(x)) != values).any()
    m.eval()
    np.testing.assert_array_equal(np.asarray(f(x)), np.asarray(x))


def test_dropout_draws_the_same_numbers_compiled():
    m = nn.Dropout(0.5)
    x = braze.ones(50, 3)
    results = []
    for f in (m, braze.compile(m)):
        braze.manual_seed(3)
        results.append([np.asarray(f(x)) for _ in range(3)])
    np.testing.assert_array_equal(*results)


def test_whole_channels_are_dropped():
    y = np.asarray(nn.Dropout2d(0.5)(braze.ones(8, 8, 4, 4)))
    assert ((y == 0).all((2, 3)) | (y == 2).all((2, 3))).all() and (y == 0).any()


LAYERS = {
    "linear": (lambda: nn.Linear(4, 3), (4,)),
    "perceptron": (lambda: nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.LayerNorm(5), nn.Linear(5, 2)), (4,)),
    "batch norm": (lambda: nn.BatchNorm1d(4), (4,)),
    "group norm": (lambda: nn.GroupNorm(2, 4), (4, 3)),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2),
                                          nn.Flatten()), (1, 8, 8)),
    "adaptive": (lambda: nn.AdaptiveAvgPool2d(1), (3, 4, 4)),
    "attention": (lambda: nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True), (3, 4)),
    "causal": (lambda: Causal(), (2, 5, 4)),
}


class Causal(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x, is_causal=True)


@pytest.mark.parametrize("name", LAYERS)
def test_batches_of_all_sizes_share_a_program(name):
    make, shape = LAYERS[name]
    m = make()
    target = None

    def loss(x):
        y = m(x)
        return (y * y).sum(), F.mse_loss(y, y.detach() * 0.5)

    f = braze.compile(loss, dynamic=True)
    for n in (4, 7, 2, 5):
        x = braze.randn(n, *shape)
        for found, expected in zip(f(x), loss(x)):
            np.testing.assert_allclose(found.item(), expected.item(), rtol=2e-5, atol=1e-6)
    assert target is None and len(f.compilations) == 1


def test_a_training_loss_of_all_batch_sizes_shares_a_program():
    m = nn.Linear(4, 3)
    f = braze.compile(lambda x, y: F.cross_entropy(m(x), y, ignore_index=1, label_smoothing=0.1), dynamic=True)
    for n in (4, 9, 6):
        x, y = braze.randn(n, 4), braze.randint(0, 3, (n,))
        expected = F.cross_entropy(m(x), y, ignore_index=1, label_smoothing=0.1)
        found = f(x, y)
        np.testing.assert_allclose(found.item(), expected.item(), rtol=1e-5)
        wanted = braze.autograd.grad(expected, list(m.parameters()))
        for a, b in zip(braze.autograd.grad(found, list(m.parameters())), wanted):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-6)
    assert len(f.compilations) == 1


@pytest.mark.parametrize("name", ["perceptron", "batch norm", "convolution", "attention"])
def test_the_numpy_back_end_agrees(name):
    make, shape = LAYERS[name]
    m = make()
    x = braze.randn(3, *shape)
    f = braze.compile(lambda x: m(x), backend="numpy")
    np.testing.assert_allclose(np.asarray(f(x)), np.asarray(m(x)), rtol=2e-5, atol=1e-5)


DERIVATIVES = {
    "layer norm": (lambda x: F.layer_norm(x, (4,)), (3, 4)),
    "rms norm": (lambda x: F.rms_norm(x, (4,)), (3, 4)),
    "batch norm": (lambda x: F.batch_norm(x, None, None, training=True), (5, 2)),
    "attention": (lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), (1, 3, 4)),
    "convolution": (lambda x: F.conv2d(x, x[:, :, :2, :2], padding=1, stride=2), (1, 2, 4, 4)),
    "pooling": (lambda x: F.max_pool2d(x, 3, 2, 1) + F.avg_pool2d(x, 3, 2, 1), (1, 1, 5, 5)),
    "cross entropy": (lambda x: F.cross_entropy(x, np.array([0, 2, 1]), label_smoothing=0.2), (3, 4)),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_gradients_are_limits_of_differences(name):
    f, shape = DERIVATIVES[name]
    x = braze.tensor(np.random.default_rng(0).standard_normal(shape), requires_grad=True)
    assert braze.testing.gradcheck(f, x)


def test_an_embedding_sums_the_gradients_of_repeated_rows_but_not_of_padding():
    m = nn.Embedding(4, 2, padding_idx=-1)
    assert not np.asarray(m.weight)[3].any()
    m(braze.tensor([0, 1, 0, 3])).sum().backward()
    np.testing.assert_array_equal(np.asarray(m.weight.grad), [[2, 2], [1, 1], [0, 0], [0, 0]])


@pytest.mark.parametrize("call, error, text", [
    (lambda: F.cross_entropy(braze.ones(2, 3), np.array([0, 3])), braze.errors.IndexingError, "class 3"),
    (lambda: F.cross_entropy(braze.ones(2, 3), np.array([0, 1, 2])), braze.errors.ShapeError, "3"),
    (lambda: F.cross_entropy(braze.ones(2, 3), np.array([[0], [1]])), braze.errors.ShapeError, "class dimension"),
    (lambda: F.mse_loss(braze.ones(2), braze.ones(2), "avg"), ValueError, "reduction"),
    (lambda: nn.Linear(3, 2)(braze.ones(1, 4)), braze.errors.ShapeError, r"\[1, 4\]"),
    (lambda: F.layer_norm(braze.ones(2, 3), (4,)), braze.errors.ShapeError, "last dimensions"),
    (lambda: F.max_pool2d(braze.ones(1, 1, 2, 2), 3), braze.errors.ShapeError, "window"),
    (lambda: nn.Conv2d(3, 4, 1, groups=2), braze.errors.ShapeError, "groups"),
    (lambda: nn.MultiheadAttention(5, 2), braze.errors.ShapeError, "heads"),
    (lambda: nn.BatchNorm2d(3)(braze.ones(2, 3)), braze.errors.ShapeError, "dimensions"),
    (lambda: nn.Dropout(1.5)(braze.ones(2)), ValueError, "probability"),
    (lambda: nn.ReLU(3), TypeError, "ReLU"),
])
def test_what_does_not_fit_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("wrong", [4, -1])
def test_a_target_that_is_no_class_is_an_error_and_counts_nothing_where_values_are_not_looked_at(wrong):
    scores = braze.tensor(np.random.default_rng(0).standard_normal((3, 4), dtype=np.float32))
    target, right = braze.tensor([0, wrong, 2]), braze.tensor([0, 1, 2])
    with pytest.raises(braze.errors.IndexingError, match=f"target class {wrong} is outside the 4 classes"):
        F.cross_entropy(scores, target)
    each = F.cross_entropy(scores, right, reduction="none").tolist()
    found = braze.compile(lambda x, y: F.cross_entropy(x, y, reduction="none"))(scores, target).tolist()
    assert found == pytest.approx([each[0], 0.0, each[2]])
    assert braze.compile(F.cross_entropy)(scores, target).item() == pytest.approx(sum(found) / 3)
