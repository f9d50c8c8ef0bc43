"""Writes golden.py: what PyTorch gives for the cases, in float64. Run with a Python that has torch: `python
tests/nn/make_golden.py`.
"""

import pathlib
import pprint

import numpy as np
import torch
from cases import FUNCTIONS, MODULES, OPTIMISERS, SCHEDULES, STEPS, arguments, objective, pattern, values


def tensor(array, differentiable):
    return torch.tensor(array).requires_grad_(differentiable)


def rounded(t):
    return [float(f"{v:.10g}") for v in t.detach().double().reshape(-1).tolist()]


def differentiated(y, inputs):
    """The result, and the gradients towards the inputs of sum(result * pattern)."""
    wanted = [t for t in inputs if t.requires_grad]
    gradients = torch.autograd.grad((y * torch.tensor(pattern(y.shape, 9))).sum(), wanted, allow_unused=True)
    return {"result": rounded(y), "gradients": [None if g is None else rounded(g) for g in gradients]}


def function(name, specs, options):
    listed, named = arguments(specs, tensor)
    f = getattr(torch.nn.functional, name, None) or getattr(torch, name)
    return differentiated(f(*listed, **named, **options), [*listed, *named.values()])


def module(name, args, options, specs, call):
    m = getattr(torch.nn, name)(*args, **options).double()
    with torch.no_grad():
        for i, (_, t) in enumerate(sorted(m.state_dict().items())):
            if t.is_floating_point():
                t.copy_(torch.tensor(values(("unit", tuple(t.shape)), i)))
    inputs, _ = arguments(specs, tensor)
    y = m(*inputs, **call)
    y = y[0] if isinstance(y, tuple) else y
    out = differentiated(y, [*[t for t in inputs if t.is_floating_point()],
                             *(p for _, p in sorted(m.named_parameters()))])
    out["state"] = {n: rounded(t) for n, t in sorted(m.named_buffers())}
    out["names"] = sorted(m.state_dict())
    return out


def optimiser(name, options):
    p = torch.tensor(pattern((4,)), requires_grad=True)
    o = getattr(torch.optim, name)([p], foreach=False, **options)
    for t in range(STEPS):
        o.zero_grad()
        objective(p, t).backward()
        o.step()
    return rounded(p)


def schedule(name, options):
    o = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4, momentum=0.9)
    s = getattr(torch.optim.lr_scheduler, name)(o, **options,
                                                **({"cycle_momentum": False} if name == "OneCycleLR" else {}))
    rates = []
    for _ in range(STEPS + 3):
        rates.append(float(f"{o.param_groups[0]['lr']:.10g}"))
        o.step()
        s.step()
    return rates


def main():
    golden = {
        "FUNCTIONS": {n: function(*c) for n, c in FUNCTIONS.items()},
        "MODULES": {n: module(*c) for n, c in MODULES.items()},
        "OPTIMISERS": {n: optimiser(*c) for n, c in OPTIMISERS.items()},
        "SCHEDULES": {n: schedule(*c) for n, c in SCHEDULES.items()},
    }
    head = f"What PyTorch {torch.__version__} gives for the cases, in float64: written by make_golden.py."
    text = f'"""{head}"""\n\n# ruff: noqa\n'
    for name, table in golden.items():
        text += f"\n{name} = {pprint.pformat(table, width=180, compact=True, sort_dicts=False)}\n"
    pathlib.Path(__file__).with_name("golden.py").write_text(text)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
