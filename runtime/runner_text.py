"""The native runner as LLVM text: an interpreter of step records, and a builtin for CPython; compiled once per machine.

What is outside (the clock, CPython) is called through addresses in tables that Python fills in, so that the cached code
holds none.
"""

from __future__ import annotations

from . import abi
from .parts_text import parts_text
from .pool_text import pool_text
from .turns_text import turns_text

_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}


def runner_text(architecture: str, bytes_header: int) -> str:
    """The module for an architecture ("x86_64", "aarch64", …); it needs no passes.

    `bytes_header` is where the contents of a bytes object begin in this Python.
    """
    declaration, pause = _PAUSE.get({"arm64": "aarch64"}.get(architecture, architecture), ("", ""))
    return "\n".join([declaration, *_DECLARATIONS, pool_text(pause), parts_text(), turns_text(), _interpreter(),
                      _builtin(bytes_header)])


_DECLARATIONS = (
    "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)",
    "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
    "declare i64 @llvm.smin.i64(i64, i64)",
    "declare i64 @llvm.smax.i64(i64, i64)",
)


def _operands(count: int, prefix: str) -> str:
    """Load the operands of a record: %{prefix}1, %{prefix}2, …"""
    return "\n".join(f"  %{prefix}{n}.at = getelementptr i64, ptr %record, i64 {n}\n  %{prefix}{n} = load i64, ptr "
                     f"%{prefix}{n}.at"
                     for n in range(1, count + 1))


def _word(name: str, index: str, kind: str = "i64") -> str:
    """Load a word of the frame."""
    return f"  %{name}.at = getelementptr i64, ptr %frame, i64 %{index}\n  %{name} = load {kind}, ptr %{name}.at"


def _advance(record: int, *, label: str) -> str:
    return f"  %{label}.next = add i64 %place, {abi.RECORD_WORDS[record]}\n  br label %step"


_LABELS = {
    "launch": abi.LAUNCH, "together": abi.TOGETHER, "zero": abi.ZERO, "copy": abi.COPY, "jump": abi.JUMP,
    "unless": abi.UNLESS, "less": abi.NOT_LESS,
    "move": abi.MOVE, "compute": abi.COMPUTE, "read": abi.READ, "host": abi.HOST, "enter": abi.ENTER, "turn": abi.TURN,
    "leave": abi.LEAVE, "poll": abi.POLL,
}  # fmt: skip


def _interpreter() -> str:
    ends = {"launch": "launched", "enter": "entered", "leave": "left", "compute": "computed", "copy": "copied"}
    sources = ", ".join(f"[%{name}.next, %{ends.get(name, name)}]" for name in _LABELS if name != "host")
    table = "\n    ".join(f"i64 {op}, label %{name}" for name, op in _LABELS.items())
    return f"""
define i64 @run(ptr %code, ptr %frame, ptr %pool, ptr %time) {{
  %resume = load i64, ptr %frame
  br label %step
step:
  %place = phi i64 [%resume, %0], {sources}
  %record = getelementptr i64, ptr %code, i64 %place
  %op = load i64, ptr %record
  switch i64 %op, label %done [
    {table}
  ]
done:
  ret i64 {abi.FINISHED}
launch:
{_operands(8, "l")}
{_word("units", "l2")}
{_word("scratch", "l4", "ptr")}
  %kernel = inttoptr i64 %l1 to ptr
  %arguments = getelementptr i64, ptr %frame, i64 %l5
  %list = getelementptr i64, ptr %record, i64 {abi.RECORD_WORDS[abi.LAUNCH]}
  %empty = icmp eq i64 %l6, 0
  br i1 %empty, label %gathered, label %gather
gather:
  %g = phi i64 [0, %launch], [%g1, %gather]
  %from.at = getelementptr i64, ptr %list, i64 %g
  %from = load i64, ptr %from.at
{_word("argument", "from")}
  %to = getelementptr i64, ptr %arguments, i64 %g
  store i64 %argument, ptr %to
  %g1 = add i64 %g, 1
  %more = icmp ult i64 %g1, %l6
  br i1 %more, label %gather, label %gathered
gathered:
  %l.now = icmp eq i64 %l8, 0
  br i1 %l.now, label %alone, label %part
alone:
  call void @region(ptr %pool, ptr %kernel, ptr %arguments, i64 %units, i64 %l3, ptr %scratch)
  br label %launched
part:
  %row = getelementptr i64, ptr %frame, i64 %l8
  call void @enter_part(ptr %row, ptr %kernel, ptr %arguments, i64 %units, i64 %l3)
  br label %launched
launched:
  %launch.next = add i64 %l7, 0
  br label %step
together:
{_operands(3, "p")}
{_word("p.ticks", "p2")}
{_word("p.scratch", "p3", "ptr")}
  %p.table = getelementptr i64, ptr %frame, i64 %p1
  call void @region(ptr %pool, ptr @run_parts, ptr %p.table, i64 %p.ticks, i64 {1 << abi.TICKS}, ptr %p.scratch)
{_advance(abi.TOGETHER, label="together")}
zero:
{_operands(2, "z")}
{_word("z.slot", "z1", "ptr")}
{_word("z.bytes", "z2")}
  call void @llvm.memset.p0.i64(ptr %z.slot, i8 0, i64 %z.bytes, i1 false)
{_advance(abi.ZERO, label="zero")}
copy:
{_operands(3, "c")}
{_word("c.source", "c1", "ptr")}
{_word("c.target", "c2", "ptr")}
{_word("c.bytes", "c3")}
  %c.same = icmp eq ptr %c.source, %c.target
  br i1 %c.same, label %copied, label %copying
copying:
  call void @llvm.memcpy.p0.p0.i64(ptr %c.target, ptr %c.source, i64 %c.bytes, i1 false)
  br label %copied
copied:
{_advance(abi.COPY, label="copy")}
jump:
{_operands(1, "j")}
  %jump.next = add i64 %j1, 0
  br label %step
unless:
{_operands(2, "u")}
{_word("u.slot", "u1", "ptr")}
  %u.value = load i8, ptr %u.slot
  %u.true = icmp ne i8 %u.value, 0
  %u.on = add i64 %place, {abi.RECORD_WORDS[abi.UNLESS]}
  %unless.next = select i1 %u.true, i64 %u.on, i64 %u2
  br label %step
less:
{_operands(3, "n")}
{_word("n.left", "n1")}
{_word("n.right", "n2")}
  %n.less = icmp slt i64 %n.left, %n.right
  %n.on = add i64 %place, {abi.RECORD_WORDS[abi.NOT_LESS]}
  %less.next = select i1 %n.less, i64 %n.on, i64 %n3
  br label %step
move:
{_operands(2, "m")}
{_word("m.value", "m2")}
  %m.to = getelementptr i64, ptr %frame, i64 %m1
  store i64 %m.value, ptr %m.to
{_advance(abi.MOVE, label="move")}
compute:
{_operands(4, "k")}
{_word("a", "k3")}
{_word("b", "k4")}
  switch i64 %k1, label %k.add [
    i64 {abi.MULTIPLY}, label %k.multiply
    i64 {abi.FLOOR_DIVIDE}, label %k.divide
    i64 {abi.REMAINDER}, label %k.divide
    i64 {abi.MINIMUM}, label %k.minimum
    i64 {abi.MAXIMUM}, label %k.maximum
  ]
k.add:
  %sum = add i64 %a, %b
  br label %computed
k.multiply:
  %product = mul i64 %a, %b
  br label %computed
k.divide:                                                   ; floor semantics; by zero gives zero
  %b.zero = icmp eq i64 %b, 0
  %b.safe = select i1 %b.zero, i64 1, i64 %b
  %quotient = sdiv i64 %a, %b.safe
  %rest = srem i64 %a, %b.safe
  %rest.some = icmp ne i64 %rest, 0
  %signs = xor i64 %rest, %b.safe
  %signs.differ = icmp slt i64 %signs, 0
  %low = and i1 %rest.some, %signs.differ
  %quotient1 = add i64 %quotient, -1
  %floor = select i1 %low, i64 %quotient1, i64 %quotient
  %rest1 = add i64 %rest, %b.safe
  %modulo = select i1 %low, i64 %rest1, i64 %rest
  %wants.rest = icmp eq i64 %k1, {abi.REMAINDER}
  %divided = select i1 %wants.rest, i64 %modulo, i64 %floor
  %defined = select i1 %b.zero, i64 0, i64 %divided
  br label %computed
k.minimum:
  %minimum = call i64 @llvm.smin.i64(i64 %a, i64 %b)
  br label %computed
k.maximum:
  %maximum = call i64 @llvm.smax.i64(i64 %a, i64 %b)
  br label %computed
computed:
  %result = phi i64 [%sum, %k.add], [%product, %k.multiply], [%defined, %k.divide], [%minimum, %k.minimum], [%maximum, %k.maximum]
  %k.to = getelementptr i64, ptr %frame, i64 %k2
  store i64 %result, ptr %k.to
{_advance(abi.COMPUTE, label="compute")}
read:
{_operands(2, "r")}
{_word("r.slot", "r2", "ptr")}
  %r.value = load i64, ptr %r.slot
  %r.to = getelementptr i64, ptr %frame, i64 %r1
  store i64 %r.value, ptr %r.to
{_advance(abi.READ, label="read")}
host:
{_operands(1, "h")}
  %h.next = add i64 %place, {abi.RECORD_WORDS[abi.HOST]}
  store i64 %h.next, ptr %frame
  ret i64 %h1
enter:                          ; a carry before its loop: the buffers alternate so that the last turn writes into the result
{_operands(7, "e")}
{_word("e.initial", "e1", "ptr")}
{_word("e.result", "e4", "ptr")}
{_word("e.spare", "e5", "ptr")}
{_word("e.turns", "e6")}
  %e.odd = trunc i64 %e.turns to i1
  %e.first = select i1 %e.odd, ptr %e.result, ptr %e.spare
  %e.other = select i1 %e.odd, ptr %e.spare, ptr %e.result
  %e.following = getelementptr i64, ptr %frame, i64 %e3
  store ptr %e.first, ptr %e.following
  %e.some = icmp sgt i64 %e.turns, 0
  %e.same = icmp eq ptr %e.initial, %e.first
  %e.clash = and i1 %e.some, %e.same                        ; a donated input: the first turn would write what it reads
  br i1 %e.clash, label %clash, label %entered
clash:
{_word("e.bytes", "e7")}
  call void @llvm.memcpy.p0.p0.i64(ptr %e.other, ptr %e.initial, i64 %e.bytes, i1 false)
  br label %entered
entered:
  %e.read = phi ptr [%e.initial, %enter], [%e.other, %clash]
  %e.current = getelementptr i64, ptr %frame, i64 %e2
  store ptr %e.read, ptr %e.current
{_advance(abi.ENTER, label="enter")}
turn:
{_operands(4, "t")}
{_word("t.written", "t2", "ptr")}
{_word("t.result", "t3", "ptr")}
{_word("t.spare", "t4", "ptr")}
  %t.is.result = icmp eq ptr %t.written, %t.result
  %t.following = select i1 %t.is.result, ptr %t.spare, ptr %t.result
  %t.current = getelementptr i64, ptr %frame, i64 %t1
  store ptr %t.written, ptr %t.current
  store ptr %t.following, ptr %t.written.at
{_advance(abi.TURN, label="turn")}
leave:
{_operands(3, "v")}
{_word("v.last", "v1", "ptr")}
{_word("v.result", "v2", "ptr")}
  %v.same = icmp eq ptr %v.last, %v.result
  br i1 %v.same, label %left, label %leaving
leaving:
{_word("v.bytes", "v3")}
  call void @llvm.memcpy.p0.p0.i64(ptr %v.result, ptr %v.last, i64 %v.bytes, i1 false)
  br label %left
left:
{_advance(abi.LEAVE, label="leave")}
poll:                           ; once a second, return, so that Python can handle its signals
  %clock.at = getelementptr i64, ptr %frame, i64 {abi.CLOCK}
  %clock = load i64, ptr %clock.at
  %now = call i64 %time(ptr null)
  store i64 %now, ptr %clock.at
  %poll.next = add i64 %place, {abi.RECORD_WORDS[abi.POLL]}
  %first = icmp eq i64 %clock, 0
  %unchanged = icmp eq i64 %clock, %now
  %on = or i1 %first, %unchanged
  br i1 %on, label %step, label %interrupted
interrupted:
  store i64 %poll.next, ptr %frame
  ret i64 {abi.INTERRUPTED}
}}
"""


def _builtin(bytes_header: int) -> str:
    functions = "\n".join(f"  %f{n}.at = getelementptr ptr, ptr %table, i64 {n}\n  %{name} = load ptr, ptr %f{n}.at"
                          for n, name in enumerate(abi.TABLE))
    fields = {
        "code.place": abi.BOUND_CODE, "frame.place": abi.BOUND_FRAME, "words": abi.BOUND_WORDS,
        "wanted": abi.BOUND_ARGUMENTS, "releases": abi.BOUND_RELEASES,
    }  # fmt: skip
    numbers = "\n".join(f"  %b{n}.at = getelementptr i64, ptr %bound, i64 {n}\n  %{name} = load i64, ptr %b{n}.at"
                        for name, n in fields.items())
    return f"""
define ptr @call(ptr %self, ptr %arguments, i64 %count) {{    ; METH_FASTCALL: words to the frame's arguments, run, None
  %bound = getelementptr i8, ptr %self, i64 {bytes_header}
{numbers}
  %code = getelementptr i64, ptr %bound, i64 %code.place
  %template = getelementptr i64, ptr %bound, i64 %frame.place
  %b5.at = getelementptr i64, ptr %bound, i64 {abi.BOUND_POOL}
  %cell = load ptr, ptr %b5.at
  %b6.at = getelementptr i64, ptr %bound, i64 {abi.BOUND_TABLE}
  %table = load ptr, ptr %b6.at
{functions}
  %fits = icmp eq i64 %count, %wanted
  br i1 %fits, label %begin, label %wrong
wrong:
  call void %PyErr_SetString(ptr %type_error, ptr %message)
  ret ptr null
begin:
  %frame = alloca i64, i64 %words, align 16
  %bytes = shl i64 %words, 3
  call void @llvm.memcpy.p0.p0.i64(ptr %frame, ptr %template, i64 %bytes, i1 false)
  %any = icmp sgt i64 %count, 0
  br i1 %any, label %convert, label %ready
convert:
  %n = phi i64 [0, %begin], [%n1, %converted]
  %object.at = getelementptr ptr, ptr %arguments, i64 %n
  %object = load ptr, ptr %object.at
  %type.at = getelementptr i8, ptr %object, i64 {abi.OBJECT_TYPE}
  %type = load ptr, ptr %type.at
  %is.array = icmp eq ptr %type, %array_type
  br i1 %is.array, label %array, label %number
array:
  %data.at = getelementptr i8, ptr %object, i64 {abi.ARRAY_DATA}
  %data = load i64, ptr %data.at
  br label %converted
number:
  %integer = call i64 %PyLong_AsLongLong(ptr %object)
  %odd = icmp eq i64 %integer, -1
  br i1 %odd, label %doubtful, label %converted
doubtful:
  %error = call ptr %PyErr_Occurred()
  %failed = icmp ne ptr %error, null
  br i1 %failed, label %fail, label %converted
converted:
  %word = phi i64 [%data, %array], [%integer, %number], [%integer, %doubtful]
  %place = add i64 %n, {abi.HEADER_WORDS}
  %to = getelementptr i64, ptr %frame, i64 %place
  store i64 %word, ptr %to
  %n1 = add i64 %n, 1
  %more = icmp slt i64 %n1, %count
  br i1 %more, label %convert, label %ready
ready:
  %pool = load ptr, ptr %cell
  %release = icmp ne i64 %releases, 0
  br i1 %release, label %free, label %hold
free:
  %thread = call ptr %PyEval_SaveThread()
  %r1 = call i64 @run(ptr %code, ptr %frame, ptr %pool, ptr %time)
  call void %PyEval_RestoreThread(ptr %thread)
  br label %after
hold:
  %r2 = call i64 @run(ptr %code, ptr %frame, ptr %pool, ptr %time)
  br label %after
after:
  %outcome = phi i64 [%r1, %free], [%r2, %hold]
  %finished = icmp eq i64 %outcome, {abi.FINISHED}
  br i1 %finished, label %out, label %signals
signals:
  %raised = call i32 %PyErr_CheckSignals()
  %stop = icmp ne i32 %raised, 0
  br i1 %stop, label %fail, label %ready
out:
  call void %Py_IncRef(ptr %none)
  ret ptr %none
fail:
  ret ptr null
}}
"""
