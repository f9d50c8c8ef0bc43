"""A compiled function notices when plain Python that it read has changed: after each change it gives what the function
gives.
"""

import collections
import cProfile
import dataclasses
import random
import sys
import threading
import types
from collections import namedtuple

import braze
import numpy as np
import pytest
from braze.tracer.guards import same

X = braze.tensor([1.0, 2.0, 3.0])

scale = 2.0
table = {"heads": 3, "sizes": [1, 2], "nested": {"deep": 1.5}}
filled = collections.defaultdict(lambda: 4.0)
ordered, queue = collections.OrderedDict(a=1.0), collections.deque([1.0])
odd = {(None, 1.5): 2.0}
weight = braze.tensor([1.0, 1.0, 1.0])
module = types.ModuleType("constants")
module.__file__ = "constants.py"
module.RATE = 0.5
Point = namedtuple("Point", "x y")
point = Point(1.0, {"inner": 2.0})


@dataclasses.dataclass
class Config:
    heads: int = 4
    rate: float = 0.5


class Slotted:
    __slots__ = ("gain", "on")

    def __init__(self):
        self.gain, self.on = 2.0, True


class Layer:
    kind = 1.0

    def __init__(self, weight):
        self.weight, self.training, self.options = weight, True, {"p": 0.5}

    def __call__(self, x):
        return self.forward(x)

    def forward(self, x):
        y = x * self.weight + self.kind
        return y if self.training else -y

    @property
    def half(self):
        return self.weight / 2

    @staticmethod
    def twice(x):
        return x * 2


class Private:
    def __init__(self):
        self.__rate = 2.0

    def set(self, rate):
        self.__rate = rate

    def __call__(self, x):
        return x * self.__rate


class Net:
    def __init__(self):
        self.private = Private()
        self.layers, self.config, self.slotted = [Layer(1.0), Layer(2.0)], Config(), Slotted()
        self.names = {"a": Layer(3.0), "b": Layer(4.0)}
        self.tensor = braze.tensor([1.0, 0.0, 0.0])

    def forward(self, x):
        config = self.config
        for layer in self.layers:
            x = layer(x)
        for _, layer in self.names.items():
            x = x * layer.weight
        for n, layer in enumerate(self.layers):
            x = x + layer.options["p"] * n
        return x * config.heads * self.slotted.gain + self.tensor


def closure():
    shift = 1.5

    def read(x):
        return x + shift

    def rebind(value):
        nonlocal shift
        shift = value

    return read, rebind


def local_alias(net, x):
    c = net.config
    heads = c.heads if net.slotted.on else 0
    return x * heads


def comprehension(net, x):
    return x * sum([layer.weight for layer in net.layers])


def with_getattr(net, x):
    return x * getattr(net.config, "rate")


def has_bias(net, x):
    return x + net.bias if hasattr(net, "bias") else x


# (name, function of (net, x), change, undo): `net` is a fresh Net, made outside
def _set(holder, name, value):
    return lambda net: setattr(holder(net), name, value)


CASES = {
    "global float": (lambda net, x: x * scale, lambda net: globals().update(scale=3.0),
                     lambda: globals().update(scale=2.0)),
    "global float to int": (lambda net, x: x * scale, lambda net: globals().update(scale=2),
                            lambda: globals().update(scale=2.0)),
    "global tensor": (lambda net, x: x * weight, lambda net: globals().update(weight=X),
                      lambda: globals().update(weight=braze.ones(3))),
    "dict item": (lambda net, x: x * table["heads"], lambda net: table.update(heads=5), lambda: table.update(heads=3)),
    "nested dict": (lambda net, x: x * table["nested"]["deep"], lambda net: table["nested"].update(deep=5),
                    lambda: table["nested"].update(deep=1.5)),
    "dict get": (lambda net, x: x * table.get("extra", 1.0), lambda net: table.update(extra=5.0),
                 lambda: table.pop("extra")),
    "dict in": (lambda net, x: x if "extra" in table else -x, lambda net: table.update(extra=5.0),
                lambda: table.pop("extra")),
    "list elements": (lambda net, x: x * sum(table["sizes"]), lambda net: table["sizes"].append(5),
                      lambda: table["sizes"].pop()),
    "module constant": (lambda net, x: x * module.RATE, lambda net: setattr(module, "RATE", 5.0),
                        lambda: setattr(module, "RATE", 0.5)),
    "namedtuple": (lambda net, x: x * point.x * point.y["inner"], lambda net: point.y.update(inner=7.0),
                   lambda: point.y.update(inner=2.0)),
    "attribute chain": (lambda net, x: x * net.config.heads, _set(lambda net: net.config, "heads", 7), None),
    "object replaced": (lambda net, x: x * net.config.heads, lambda net: setattr(net, "config", Config(9)), None),
    "local alias": (local_alias, _set(lambda net: net.config, "heads", 7), None),
    "slot": (local_alias, _set(lambda net: net.slotted, "on", False), None),
    "getattr": (with_getattr, _set(lambda net: net.config, "rate", 7.0), None),
    "attribute appears": (has_bias, _set(lambda net: net, "bias", 7.0), None),
    "comprehension": (comprehension, _set(lambda net: net.layers[1], "weight", 7.0), None),
    "method call": (lambda net, x: net.forward(x), _set(lambda net: net.layers[0], "training", False), None),
    "layer list grows": (lambda net, x: net.forward(x), lambda net: net.layers.append(Layer(5.0)), None),
    "layer replaced": (lambda net, x: net.forward(x), lambda net: net.layers.__setitem__(0, Layer(5.0)), None),
    "dict values": (lambda net, x: net.forward(x), _set(lambda net: net.names["b"], "weight", 7.0), None),
    "enumerate": (lambda net, x: net.forward(x), lambda net: net.layers[1].options.update(p=9.0), None),
    "tensor attribute": (lambda net, x: net.forward(x), _set(lambda net: net, "tensor", X), None),
    "private name": (lambda net, x: net.private(x), lambda net: net.private.set(7.0), None),
    "defaultdict": (lambda net, x: x * filled["k"], lambda net: filled.update(k=7.0), lambda: filled.pop("k")),
    "ordered and deque": (lambda net, x: x * ordered["a"] + sum(queue), lambda net: queue.append(7.0),
                          lambda: queue.pop()),
    "odd key": (lambda net, x: x * odd[None, 1.5], lambda net: odd.update({(None, 1.5): 7.0}),
                lambda: odd.update({(None, 1.5): 2.0})),
    "property": (lambda net, x: x * net.layers[0].half, _set(lambda net: net.layers[0], "weight", 7.0), None),
    "class attribute": (lambda net, x: net.forward(x), _set(lambda net: Layer, "kind", 7.0),
                        lambda: setattr(Layer, "kind", 1.0)),
    "instance method": (lambda net, x: net.layers[0].forward(x),
                        _set(lambda net: net.layers[0], "forward", lambda x: -x), None),
    "unrolled by a count": (lambda net, x: sum([x for _ in range(net.config.heads)], x),
                            _set(lambda net: net.config, "heads", 2), None),
}


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_noticed_and_named(name):
    function, change, undo = CASES[name]
    net = Net()
    compiled = braze.compile(lambda x: function(net, x))
    compiled(X), compiled(X), compiled(X)
    assert len(compiled.compilations) == 1
    try:
        change(net)
        expected = np.asarray(function(net, X))
        np.testing.assert_allclose(np.asarray(compiled(X)), expected, rtol=1e-6)
        np.testing.assert_allclose(np.asarray(compiled(X)), expected, rtol=1e-6)
        assert len(compiled.compilations) == 2
        assert "traced again" not in compiled.compilations[1].reason
    finally:
        if undo is not None:
            undo()


def test_the_reason_says_what_changed_from_what_to_what():
    net = Net()
    compiled = braze.compile(lambda x: x * net.config.heads)
    compiled(X)
    net.config.heads = 6
    compiled(X)
    assert "heads` in test_guards.py was 4, is 6" in compiled.compilations[1].reason


def test_changed_back_needs_no_compilation():
    net = Net()
    compiled = braze.compile(lambda x: x * net.config.heads)
    for heads in (4, 5, 4, 5, 4):
        net.config.heads = heads
        np.testing.assert_array_equal(np.asarray(compiled(X)), np.asarray(X) * heads)
    assert len(compiled.compilations) == 2


def test_a_rebound_cell_is_noticed():
    read, rebind = closure()
    compiled = braze.compile(read)
    compiled(X), compiled(X)
    rebind(4.0)
    np.testing.assert_array_equal(np.asarray(compiled(X)), np.asarray(X) + 4)
    assert "closure's `shift`" in compiled.compilations[1].reason


def test_functions_their_code_and_defaults_are_guarded():
    def inner(x, factor=2):
        return x * factor

    compiled = braze.compile(lambda x: inner(x))
    compiled(X), compiled(X)
    inner.__defaults__ = (5,)
    np.testing.assert_array_equal(np.asarray(compiled(X)), np.asarray(X) * 5)
    inner.__code__ = (lambda x, factor: x - factor).__code__
    np.testing.assert_array_equal(np.asarray(compiled(X)), np.asarray(X) - 5)


def test_a_patched_method_is_noticed(monkeypatch):
    net = Net()
    compiled = braze.compile(lambda x: net.layers[0](x))
    compiled(X), compiled(X)
    monkeypatch.setattr(Layer, "forward", lambda self, x: x * 100)
    np.testing.assert_array_equal(np.asarray(compiled(X)), np.asarray(X) * 100)


def test_a_compiled_function_inside_is_guarded():
    net = Net()
    inner = braze.compile(lambda x: x * net.config.rate)
    outer = braze.compile(lambda x: inner(x) + 1)
    outer(X), outer(X)
    net.config.rate = 8.0
    np.testing.assert_array_equal(np.asarray(outer(X)), np.asarray(X) * 8 + 1)


def test_code_without_source_is_guarded_by_its_names():
    space = {"factor": 2.0, "net": Net()}
    exec("def f(x):\n    return x * factor + net.config.heads\n", space)
    compiled = braze.compile(space["f"])
    compiled(X), compiled(X)
    space["factor"] = 3.0
    np.testing.assert_array_equal(np.asarray(compiled(X)), np.asarray(X) * 3 + 4)
    space["net"].config.heads = 9
    np.testing.assert_array_equal(np.asarray(compiled(X)), np.asarray(X) * 3 + 9)


@pytest.mark.parametrize("one, other, expected", [
    (0.0, -0.0, False), (float("nan"), float("nan"), True), (1, 1.0, False), (True, 1, False),
    ("a" * 50, "".join(["a"] * 50), True),
    ((1, 2.0), (1, 2.0), True), ((1, 2), (1, 3), False), ([], [], False), (None, None, True), (2**70, 2**70, True),
], ids=str)  # fmt: skip
def test_sameness_is_by_bits_and_type(one, other, expected):
    assert same(one, other) is expected


def test_many_compilations_give_one_warning_that_says_why():
    net = Net()
    compiled = braze.compile(lambda x: x * net.config.heads, backend="numpy")
    with pytest.warns(UserWarning, match="compiled 32 times.*heads` in test_guards.py was .*argument") as caught:
        for heads in range(40):
            net.config.heads = heads
            compiled(X)
    assert len(caught) == 1 and caught[0].filename == __file__


def test_what_is_not_read_is_not_guarded():
    net = Net()
    net.step = 0
    compiled = braze.compile(lambda x: x * net.config.heads)
    for n in range(5):
        net.step, net.config.rate = n, float(n)
        compiled(X)
    assert len(compiled.compilations) == 1


def test_randomness_and_other_hidden_inputs_are_found_by_tracing_twice(monkeypatch):
    monkeypatch.setattr("braze.tracer.specialise.CHEAP_SECONDS", 60.0)       # however busy the machine is
    compiled = braze.compile(lambda x: x * random.random())
    compiled(X), compiled(X)
    assert "traced again, the graph differs" in compiled.compilations[1].reason


def test_braze_check_names_the_node(monkeypatch):
    hidden = iter(range(100))
    compiled = braze.compile(lambda x: x * next(hidden))
    compiled(X)
    monkeypatch.setenv("BRAZE_CHECK", "1")
    with pytest.raises(braze.errors.TraceError, match="BRAZE_CHECK.*was 0"):
        compiled(X)


# ---- modules ---------------------------------------------------------------------------------------------------------


class Scaled(braze.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.options, self.scale = braze.nn.Linear(3, 3), {"gain": 2.0}, 3.0

    def forward(self, x):
        y = self.linear(x) * self.options["gain"] * self.scale
        return y if self.training else -y


MODULE_CHANGES = {
    "an attribute": (lambda m: setattr(m, "scale", 7.0), "`Scaled.scale` was 3.0, is 7.0"),
    "an item": (lambda m: m.options.update(gain=7.0), "`self.options['gain']`"),
    "the mode": (lambda m: m.eval(), "`Scaled.training` was True, is False"),
    "a submodule": (lambda m: setattr(m, "linear", braze.nn.Linear(3, 3)), "`Scaled.linear` is another one"),
    "a parameter": (lambda m: setattr(m.linear, "weight", braze.nn.Parameter(braze.ones(3, 3))),
                    "`Linear.weight` is another one"),
    "a hook": (lambda m: m.register_forward_hook(lambda module, args, out: out * 2), ""),
}


@pytest.mark.parametrize("name", MODULE_CHANGES)
def test_changes_of_modules_are_noticed_and_named(name):
    change, reason = MODULE_CHANGES[name]
    model = Scaled()
    compiled = braze.compile(lambda x: model(x))
    with braze.no_grad():
        compiled(X), compiled(X), compiled(X)
        change(model)
        np.testing.assert_allclose(np.asarray(compiled(X)), np.asarray(model(X)), rtol=1e-5)
    assert len(compiled.compilations) == 2 and reason in compiled.compilations[1].reason


def test_train_and_eval_in_turn_compile_twice():
    model = Scaled()
    compiled = braze.compile(model)
    with braze.no_grad():
        for n in range(6):
            model.train(n % 2 == 0)
            np.testing.assert_allclose(np.asarray(compiled(X)), np.asarray(model(X)), rtol=1e-5)
    assert len(compiled.compilations) == 2


# ---- changes while tracing -------------------------------------------------------------------------------------------


def counting(net, x):
    net.config.heads += 1
    return x * 2


def logging(net, x):
    table["sizes"].append(1)
    return x


def global_count(net, x):
    global scale
    scale += 1
    return x


def rebinding(net, x):
    net.tensor = net.tensor + x
    return net.tensor.sum()


@pytest.mark.parametrize("function, named", [(counting, "heads"), (logging, "sizes"), (global_count, "scale"),
                                             (rebinding, "tensor")])
def test_a_plain_value_that_changes_with_each_trace_is_an_error_and_put_back(function, named):
    net = Net()
    before = (net.config.heads, list(table["sizes"]), scale, net.tensor)
    with pytest.raises(braze.errors.TraceError, match=named):
        braze.compile(lambda x: function(net, x))(X)
    assert (net.config.heads, table["sizes"], scale) == before[:3] and net.tensor is before[3]


def test_a_memo_may_be_filled_while_tracing():
    memo = {}

    def f(x):
        if "mask" not in memo:
            memo["mask"] = 3.0
        return x * memo["mask"]

    compiled = braze.compile(f)
    for _ in range(3):
        np.testing.assert_array_equal(np.asarray(compiled(X)), np.asarray(X) * 3)
    assert len(compiled.compilations) == 1


def test_objects_made_in_the_trace_may_change():
    def f(x):
        config = Config()
        config.heads += 1
        values = []
        values.append(x * config.heads)
        return values[0]

    compiled = braze.compile(f)
    compiled(X), compiled(X)
    assert len(compiled.compilations) == 1


# ---- the profiler ----------------------------------------------------------------------------------------------------


def test_a_profile_function_keeps_working():
    seen = []

    def profile(frame, kind, argument):
        seen.append(frame.f_code.co_name)

    def the_traced_function(x):
        return x * 2

    sys.setprofile(profile)
    try:
        braze.compile(the_traced_function)(X)
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(None)
    assert "the_traced_function" in seen


def test_cprofile_keeps_working():
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        braze.compile(lambda x: x * 3)(X)
        after_the_trace()
    finally:
        profiler.disable()
    assert any("after_the_trace" in str(entry.code) for entry in profiler.getstats())


def after_the_trace():
    return 1


def test_no_profile_function_is_left_behind_by_a_failed_trace():
    with pytest.raises(braze.errors.TraceError):
        braze.compile(lambda x: float(x.sum()))(X)
    assert sys.getprofile() is None


def test_threads_that_trace_at_once_do_not_see_each_other():
    nets = [Net() for _ in range(6)]
    compiled = [braze.compile(lambda x, net=net: x * net.config.heads) for net in nets]
    for n, net in enumerate(nets):
        net.config.heads = n
    found = [None] * len(nets)

    def work(n):
        found[n] = np.asarray(compiled[n](X, nets[n]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(nets))]
    [t.start() for t in threads]
    [t.join() for t in threads]
    for n, array in enumerate(found):
        np.testing.assert_array_equal(array, np.asarray(X) * n)


class FakeMonitoring:
    """`sys.monitoring` as far as it is used here, told by a profile function."""

    DISABLE = object()
    events = types.SimpleNamespace(PY_START=1, PY_RETURN=2)

    def __init__(self):
        self.tools, self.callbacks, self.off = {0: "a debugger"}, {}, set()

    def get_tool(self, n):
        return self.tools.get(n)

    def use_tool_id(self, n, name):
        assert self.tools.setdefault(n, name) == name

    def register_callback(self, n, event, function):
        self.callbacks[event] = function

    def set_events(self, n, events):
        sys.setprofile(self.profile if events else None)

    def profile(self, frame, kind, argument):
        event = {"call": 1, "return": 2}.get(kind)
        if event and (frame.f_code, event) not in self.off:
            callback = self.callbacks[event]
            if callback(frame.f_code, 0, *([argument] if event == 2 else [])) is self.DISABLE:
                self.off.add((frame.f_code, event))


def test_monitoring_tells_of_user_functions_and_is_switched_off_for_ours():
    from braze.tracer.events import Monitor

    fake, seen = FakeMonitoring(), []
    monitor = Monitor(fake)

    def user(x):
        return x * scale

    with monitor.watching(lambda frame, returning, reads: seen.append((returning, [r.root for r in reads]))):
        user(X)
    assert [s for s in seen if s[1] == ["x", "scale"]] == [(False, ["x", "scale"]), (True, ["x", "scale"])]
    assert fake.tools[4] == "braze" and sys.getprofile() is None and not monitor.looks
    assert any("tracer" in code.co_filename for code, _ in fake.off)
    assert all("test_guards" not in code.co_filename for code, _ in fake.off)
