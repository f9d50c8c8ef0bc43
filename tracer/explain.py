"""`fn.explain()`: what the compiler made of a function, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..ir import expr
from ..ir.expr import Dim
from ..ir.kernel import Kernel
from ..ir.program import HostCall, JoinedLaunch, Launch, Loop, Program, walk
from .tensor import Tensor

if TYPE_CHECKING:
    from .compile import CompiledFunction
    from .specialise import Specialisation


def kernel_bytes(kernel: Kernel) -> Dim:
    """The bytes that a kernel must move: each buffer once."""
    total: Dim = 0
    for b in kernel.buffers.values():
        total = expr.product(b.shape) * b.dtype.itemsize + total
    return total


def kernel_flops(kernel: Kernel) -> Dim:
    """Its operations on floating-point numbers, each function counted as one."""
    total: Dim = 0
    for v in kernel.values:
        if v.op in ("load", "const", "index", "cast") or not v.dtype.is_float:
            continue
        axes = v.args[0].axes if v.op == "reduce" else v.axes
        total = expr.product(kernel.axes[a] for a in axes) + total
    return total


def _of_all_parts(launch: Launch, count: Callable[[Kernel], Dim]) -> Dim:
    """What a launch moves or computes."""
    amount = count(launch.kernel)
    if not isinstance(launch, JoinedLaunch):
        return amount
    total: Dim = 0
    for p in launch.parts:
        total = expr.substitute(amount, dict.fromkeys(launch.kernel.sizes, p.extent)) + total
    return total


def human(n: Dim, unit: str) -> str:
    """12.3 MB, 4.5 GFLOP; symbolic ones as they are."""
    if not isinstance(n, int):
        return f"{n} {unit}"
    for scale, letter in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k")):
        if n >= scale:
            return f"{n / scale:.1f} {letter}{unit}"
    return f"{n} {unit}"


class Explanation:
    """A report; `str()` of it is for people, the attributes are for programs."""

    def __init__(self, function: CompiledFunction):
        self.function = function

    def __str__(self) -> str:
        f = self.function
        lines = [f"{f.name}: {len(f.specialisations)} specialisation{'s' * (len(f.specialisations) != 1)}, "
                 f"{len(f.compilations)} compilation{'s' * (len(f.compilations) != 1)}"]
        for n, (spec, record) in enumerate(zip(f.specialisations, f.compilations)):
            lines += ["", f"[{n}] ({spec.signature})", f"  made because: {record.reason}",
                      f"  compiled in {1e3 * spec.seconds:.0f} ms"]
            lines += _specialisation(spec)
        return "\n".join(lines)

    __repr__ = __str__


def _specialisation(spec: Specialisation) -> list[str]:
    lines = []
    for relation, a, b, answer in spec.guards:
        lines.append(f"  guard: {a} {relation} {b} is {answer}")
    for x, v in spec.traced.trace.captures:
        is_tensor = isinstance(x, Tensor)
        lines.append(f"  captures {v.name}: {v.type}" if is_tensor else f"  reads the number {v.name} at each call")
    for t, m in spec.traced.grads:
        if m is not None:
            lines.append(f"  writes a gradient of {t.type} after the call; zero_grad() at the end of the function "
                         "would save it")
    lines += program_lines(spec.stages.named("fused"), spec.stages)
    if spec.backward is not None:
        lines += ["  backward:", *program_lines(spec.backward.named("fused"), spec.backward)]
    return lines


def program_lines(program: Program, stages: Any) -> list[str]:
    """Kernels, host calls, the memory plan, refused fusions."""
    lines = []
    is_elsewhere = hasattr(stages.executable, "device")
    functions = getattr(stages.executable, "numpy_functions", {})
    slow = {str(launch.kernel): function.reason for launch, function in functions.items()}
    for n, s in enumerate(walk(program.steps)):
        if isinstance(s, Launch):
            k = s.kernel
            parts = f" on {len(s.parts)} parts" if isinstance(s, JoinedLaunch) else ""
            lines.append(f"  kernel {n} {k.name}{parts} by {type(s.schedule).__name__}: moves "
                         f"{human(_of_all_parts(s, kernel_bytes), 'B')}, computes "
                         f"{human(_of_all_parts(s, kernel_flops), 'FLOP')}")
            lines.append(_origin(k.origin))
            reason = slow.get(str(k))
            lines += [f"    runs as NumPy source on the device: {reason.splitlines()[0]}"] if reason else []
        elif isinstance(s, HostCall):
            lines += [f"  host call {n} {s.name}: {_carried_out(s, is_elsewhere)}", _origin(s.origin)]
        elif isinstance(s, Loop):
            tiles = f", up to {s.tiles.levels} turns at a time on tiles in cache" if s.tiles else ""
            lines.append(f"  loop {n} over {s.trips if s.trips is not None else s.condition}{tiles}")
    temporaries = [s for s in program.slots.values() if s.role == "temporary"]
    lines.append(f"  memory: an arena of {human(program.arena, 'B')} for {len(temporaries)} temporaries; "
                 f"{sum(bool(s.takes) for s in program.slots.values())} outputs written into donated inputs")
    seen: dict[str, None] = {}
    for note in program.notes:
        seen[str(note)] = None
    lines += [f"  not fused: {text}" for text in seen]
    lines += [f"  tuned {tuning}" for name, _, tuned in stages.history if name == "tuned" for tuning in tuned.tunings]
    lines.append("  time: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms, _ in stages.history))
    return lines


def _origin(places: tuple[Any, ...]) -> str:
    where = ", ".join(dict.fromkeys(map(str, places)))
    return f"    from {where}" if where else "    made by the compiler"


def _carried_out(step: HostCall, is_elsewhere: bool) -> str:
    """Who does what no kernel exists for."""
    if not is_elsewhere:
        return "runs in Python, no kernel exists for it"
    if step.takes_namespace:
        return "the device's library (CuPy) does it, no kernel exists for it"
    return "NumPy does it on the host, which waits for the device and copies there and back"


def explain(function: CompiledFunction) -> Explanation:
    """The report on a compiled function."""
    return Explanation(function)
