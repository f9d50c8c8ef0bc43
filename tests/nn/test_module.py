"""Modules: registration, state, modes, hooks, copies; and what they do inside compiled functions."""

import copy
import pickle

import braze
import numpy as np
import pytest
from braze import nn
from braze.nn import functional as F


class Block(nn.Module):
    """A residual block with a buffer."""

    def __init__(self):
        super().__init__()
        self.attn = nn.Linear(3, 3)
        self.register_buffer("scale", braze.tensor(2.0))
        self.register_buffer("scratch", braze.tensor(0.0), persistent=False)

    def forward(self, x):
        return x + self.attn(x) * self.scale


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.ModuleList(Block() for _ in range(2))
        self.drop = nn.Dropout(0.5)
        self.last = None

    def forward(self, x):
        for b in self.block:
            x = b(x)
        return self.drop(x)


def same(a, b):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)


def test_parameters_buffers_and_submodules_have_paths():
    m = Net()
    paths = [f"block.{i}.attn.{n}" for i in range(2) for n in ("weight", "bias")]
    assert [n for n, _ in m.named_parameters()] == paths
    assert [n for n, _ in m.named_buffers()] == [f"block.{i}.{n}" for i in range(2) for n in ("scale", "scratch")]
    assert sorted(m.state_dict()) == sorted([*paths, "block.0.scale", "block.1.scale"])
    assert [n for n, _ in m.named_modules()] == ["", "block", "block.0", "block.0.attn", "block.1", "block.1.attn",
                                                 "drop"]
    assert m.get_submodule("block.1.attn") is m.block[1].attn


def test_shared_parameters_are_counted_once_and_saved_twice():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight = a.weight
    m = nn.Sequential(a, b)
    assert len(list(m.parameters())) == 3
    assert sorted(m.state_dict()) == ["0.bias", "0.weight", "1.bias", "1.weight"]


def test_an_attribute_changes_its_kind():
    m = nn.Module()
    m.x = nn.Parameter(np.ones(2))
    with pytest.raises(TypeError, match="registered"):
        m.x = braze.ones(2)
    m.x = nn.Linear(1, 1)
    assert "x" not in m._parameters and isinstance(m.x, nn.Linear)
    del m.x
    with pytest.raises(AttributeError, match="'x'"):
        m.x  # noqa: B018


def test_a_state_is_a_snapshot_and_loads_again():
    m, other = Net(), Net()
    state = m.state_dict()
    before = np.array(state["block.0.attn.weight"])
    with braze.no_grad():
        m.block[0].attn.weight.mul_(3.0)
    same(state["block.0.attn.weight"], before)
    other.load_state_dict(state)
    same(other.block[0].attn.weight, before)


def test_what_does_not_fit_is_said_at_once_and_changes_nothing():
    m = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    before = np.array(m[0].bias)
    state = m.state_dict()
    state["0.bias"] = np.zeros(2, np.float32)
    state["0.weight"] = np.zeros((3, 2), np.float32)
    state["odd"] = state.pop("1.bias")
    with pytest.raises(braze.errors.ShapeError,
                       match=r"missing: 1.bias; unexpected: odd; of another shape: 0.weight: \[3, 2\] for \[2, 2\]"):
        m.load_state_dict(state)
    same(m[0].bias, before)
    state["0.weight"] = np.ones((2, 2))
    assert m.load_state_dict(state, strict=False) == (["1.bias"], ["odd"])
    same(m[0].weight, np.ones((2, 2)))


def test_copies_and_pickles_are_independent():
    m = Net()
    for other in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert isinstance(other.block[0].attn.weight, nn.Parameter)
        for (n, a), (_, b) in zip(m.named_parameters(), other.named_parameters()):
            assert a is not b and b.requires_grad, n
            same(a, b)


def test_modes_and_dtypes_reach_everything():
    m = Net().eval()
    assert not any(x.training for x in m.modules())
    m.train().double()
    assert {p.dtype.long_name for p in m.parameters()} == {"float64"}
    assert {b.dtype.long_name for b in m.buffers()} == {"float64"}
    m.requires_grad_(False)
    assert not any(p.requires_grad for p in m.parameters())


def test_hooks_see_and_replace():
    m = nn.Linear(2, 2)
    seen = []
    hooks = [m.register_forward_pre_hook(lambda m, args: (args[0] * 2,)),
             m.register_forward_hook(lambda m, args, y: seen.append(args) or y + 1)]
    x = braze.ones(1, 2)
    same(m(x), F.linear(x * 2, m.weight, m.bias) + 1)
    assert len(seen) == 1
    for h in hooks:
        h.remove()
    same(m(x), F.linear(x, m.weight, m.bias))


def test_containers():
    s = nn.Sequential({"a": nn.Linear(2, 3), "b": nn.ReLU()})
    assert [n for n, _ in s.named_children()] == ["a", "b"] and isinstance(s[-1], nn.ReLU) and len(s[:1]) == 1
    items = nn.ModuleList([nn.Identity()])
    items.append(nn.ReLU())
    items.insert(0, nn.Tanh())
    assert [type(m).__name__ for m in items] == ["Tanh", "Identity", "ReLU"]
    del items[0]
    assert len(items) == 2 and list(items._modules) == ["0", "1"]
    d = nn.ModuleDict({"x": nn.Linear(1, 1)})
    assert "x" in d and [n for n, _ in d.named_parameters()] == ["x.weight", "x.bias"]
    p = nn.ParameterList([np.ones(2), np.zeros(3)])
    assert [n for n, _ in p.named_parameters()] == ["0", "1"]


def test_printing_shows_the_tree():
    text = repr(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.LeakyReLU(0.2))))
    assert text == ("Sequential(\n  (0): Linear(in_features=2, out_features=3, bias=True)\n  (1): Sequential(\n    "
                    "(0): ReLU()\n    (1): LeakyReLU(negative_slope=0.2)\n  )\n)")


# ---- compiled --------------------------------------------------------------------------------------------------------


def test_a_compiled_module_is_a_module_with_the_same_names():
    m = Net().eval()
    c = braze.compile(m)
    x = braze.randn(4, 3)
    same(c(x), m(x))
    assert isinstance(c, nn.Module) and list(c.state_dict()) == list(m.state_dict())
    assert c.block[0].attn.weight is m.block[0].attn.weight
    assert len(c.compilations) == 1
    c(x).sum().backward()
    assert m.block[0].attn.weight.grad is not None
    outer = nn.Sequential(c, nn.Linear(3, 1))
    assert len(list(outer.parameters())) == 6
    c.train()
    assert m.drop.training


def test_nodes_carry_module_paths_and_parameters_their_names():
    m = Net().eval()
    c = braze.compile(m)
    c(braze.randn(4, 3))
    text = str(c.ir("graph"))
    assert "in block.1.attn" in text and "block.0.attn.weight" in text


def test_train_and_eval_are_two_programs_and_no_more():
    m = Net()
    f = braze.compile(lambda x: m(x))
    x = braze.ones(64, 3)
    for _ in range(3):
        m.train()
        assert (np.asarray(f(x)) == 0).any()
        m.eval()
        same(f(x), m(x))
    assert len(f.compilations) == 2


def test_a_changed_attribute_or_submodule_is_noticed():
    m = Net().eval()
    f = braze.compile(lambda x: m(x))
    x = braze.randn(2, 3)
    f(x)
    m.block.append(nn.Linear(3, 3))
    same(f(x), m(x))
    m.block[0] = nn.Identity()
    same(f(x), m(x))
    m.block[1].attn.bias = None
    same(f(x), m(x))
    m.double()
    y = braze.randn(2, 3, dtype="float64")
    same(f(y), m(y))


def test_buffers_are_written_back():
    eager = nn.BatchNorm1d(3)
    compiled = copy.deepcopy(eager)
    f = braze.compile(lambda x: compiled(x))
    for _ in range(3):
        x = braze.randn(8, 3)
        same(f(x), eager(x))
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        same(getattr(compiled, name), getattr(eager, name))
    assert compiled.num_batches_tracked.item() == 3 and len(f.compilations) == 1


class Memory(nn.Module):
    """Keeps what it saw last."""

    def __init__(self):
        super().__init__()
        self.seen = None

    def forward(self, x):
        before = 0.0 if self.seen is None else self.seen
        self.seen = x.detach() * 2
        return self.seen + before


def test_a_tensor_attribute_is_set_after_each_call():
    eager, compiled = Memory(), Memory()
    f = braze.compile(compiled)
    for n in range(4):
        x = braze.full((3,), float(n))
        same(f(x), eager(x))
        same(compiled.seen, eager.seen)
    assert len(f.compilations) == 2


def test_a_failed_trace_leaves_no_attribute_behind():
    m = Memory()

    @braze.compile
    def f(x):
        m(x)
        raise KeyError("stop")

    with pytest.raises(KeyError):
        f(braze.ones(2))
    assert m.seen is None


def test_plain_attributes_cannot_be_set_in_a_trace():
    class Counter(nn.Module):
        n = 0

        def forward(self, x):
            self.n += 1
            return x

    with pytest.raises(braze.errors.TraceError, match="once"):
        braze.compile(Counter())(braze.ones(1))


def test_parameters_cannot_be_made_in_a_trace_but_losses_can():
    with pytest.raises(braze.errors.TraceError, match="outside"):
        braze.compile(lambda x: nn.Linear(2, 2)(x))(braze.ones(1, 2))
    f = braze.compile(lambda x, y: nn.MSELoss()(x, y))
    assert f(braze.ones(2), braze.zeros(2)).item() == 1.0
