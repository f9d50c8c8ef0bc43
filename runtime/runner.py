"""The native runner, as LLVM text: worker threads with parallel regions, an interpreter of step records, a CPython builtin.

It is compiled once per machine. Everything from outside (POSIX threads, CPython) is called through addresses in tables that Python
fills in, so that the cached code holds none. The places of fields are the constants below; `threads` and `native` use them.

A region is one kernel on all threads. The caller publishes it under a new generation in the pool's `STATE`
(generation << 32 | threads inside << 1 | open); a worker that is awake enters by compare-and-swap, takes chunks by an atomic
counter and leaves. The caller works too, closes the region when no chunk is left, and waits only for workers that are inside: one
that still sleeps is not waited for.
"""

from __future__ import annotations

# ---- the pool: byte offsets; words that different threads write have cache lines of their own -----------------------------
STATE, NEXT, KERNEL, ARGUMENTS, UNITS, CHUNK, REGION_SCRATCH, REGION_STRIDE = 0, 64, 128, 136, 144, 152, 160, 168
BUSY, SLEEPERS, WANTED, STARTED, SPINS, SCRATCH, STRIDE, NEXT_IDENTITY = 192, 256, 320, 328, 336, 344, 352, 360
FUNCTIONS, SIGNALS, MUTEX, CONDITION, POOL_BYTES = 384, 512, 768, 896, 1024
POOL_FUNCTIONS = (
    "pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_wait", "pthread_cond_broadcast",
    "pthread_create", "pthread_detach", "pthread_sigmask", "sched_yield",
)  # fmt: skip
SET_MASK = FUNCTIONS + 8 * len(POOL_FUNCTIONS)   # the number that SIG_SETMASK is here

# ---- step records: the first word, then words of the frame unless said otherwise ---------------------------------------
DONE, LAUNCH, ZERO, COPY, JUMP, UNLESS, NOT_LESS, MOVE, COMPUTE, READ, HOST, ENTER, TURN, LEAVE, POLL = range(15)
RECORD_WORDS = {
    DONE: 1,
    LAUNCH: 8,                   # function address (itself), units, grain (itself), scratch, first argument word, count (itself),
                                 # where the list of the arguments' words ends (a place in the code); the list follows
    ZERO: 3, COPY: 4,            # slot, bytes; source, target, bytes
    JUMP: 2, UNLESS: 3,          # a place in the code; slot of a b1, a place
    NOT_LESS: 4,                 # left, right, a place
    MOVE: 3, COMPUTE: 5,         # target, source; kind (itself), target, left, right
    READ: 3, HOST: 2,            # target, slot of an i64; number of the step (itself)
    ENTER: 8,                    # initial, current, following, result, spare, turns, bytes
    TURN: 5, LEAVE: 4,           # current, following, result, spare; current, result, bytes
    POLL: 1,
}  # fmt: skip
ADD, MULTIPLY, FLOOR_DIVIDE, REMAINDER, MINIMUM, MAXIMUM = range(6)
RESUME, CLOCK, HEADER_WORDS = 0, 1, 4            # words of a frame before its arguments
FINISHED, INTERRUPTED = -1, -2                   # what `run` returns beside the number of a host step

# ---- the builtin: words at the start of a bound call (a bytes object), and the functions in its table ---------------------
BOUND_CODE, BOUND_FRAME, BOUND_WORDS, BOUND_ARGUMENTS, BOUND_RELEASES, BOUND_POOL, BOUND_TABLE, BOUND_HEADER = range(8)
PYTHON_FUNCTIONS = (
    "PyLong_AsLongLong", "PyErr_Occurred", "PyErr_SetString", "PyErr_CheckSignals", "PyEval_SaveThread", "PyEval_RestoreThread",
    "Py_IncRef",
)  # fmt: skip
TABLE = (*PYTHON_FUNCTIONS, "none", "type_error", "message", "time")

MOST_CHUNKS = 256                # of one region: many enough to balance, few enough that taking one costs nothing

_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}


def text(architecture: str, bytes_header: int) -> str:
    """The module for an architecture ("x86_64", "aarch64", …), to be compiled with LLVM's passes at level 2.

    `bytes_header` is where the contents of a bytes object begin in this Python.
    """
    declaration, pause = _PAUSE.get({"arm64": "aarch64"}.get(architecture, architecture), ("", ""))
    return "\n".join([declaration, *_DECLARATIONS, _pool(pause), _interpreter(), _builtin(bytes_header)])


_DECLARATIONS = (
    "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)",
    "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
    "declare i64 @llvm.smin.i64(i64, i64)",
    "declare i64 @llvm.smax.i64(i64, i64)",
)


def _function(offset_of: str) -> int:
    return FUNCTIONS + 8 * POOL_FUNCTIONS.index(offset_of)


def _load(name: str, base: str, offset: int, kind: str = "i64", order: str = "") -> str:
    how = f"atomic {kind}, ptr %{name}.at {order}, align 8" if order else f"{kind}, ptr %{name}.at"
    return f"  %{name}.at = getelementptr i8, ptr %{base}, i64 {offset}\n  %{name} = load {how}"


def _store(value: str, base: str, offset: int, label: str, kind: str = "i64", order: str = "") -> str:
    how = f"atomic {kind} {value}, ptr %{label} {order}, align 8" if order else f"{kind} {value}, ptr %{label}"
    return f"  %{label} = getelementptr i8, ptr %{base}, i64 {offset}\n  store {how}"


def _pool(pause: str) -> str:
    return f"""
define void @pause(i64 %count) {{
  br label %again
again:
  %n = phi i64 [0, %0], [%n1, %again]
  {pause}
  %n1 = add i64 %n, 1
  %more = icmp ult i64 %n1, %count
  br i1 %more, label %again, label %out
out:
  ret void
}}

define internal void @work(ptr %pool, ptr %scratch) {{      ; take chunks until none is left
{_load("kernel", "pool", KERNEL, "ptr")}
{_load("arguments", "pool", ARGUMENTS, "ptr")}
{_load("units", "pool", UNITS)}
{_load("chunk", "pool", CHUNK)}
  %next = getelementptr i8, ptr %pool, i64 {NEXT}
  br label %take
take:
  %start = atomicrmw add ptr %next, i64 %chunk acq_rel
  %some = icmp slt i64 %start, %units
  br i1 %some, label %run, label %out
run:
  %end = add i64 %start, %chunk
  %stop = call i64 @llvm.smin.i64(i64 %end, i64 %units)
  call void %kernel(ptr %arguments, i64 %start, i64 %stop, ptr %scratch)
  br label %take
out:
  ret void
}}

define dso_local ptr @worker(ptr %pool) {{                             ; the life of a thread
  %identity.at = getelementptr i8, ptr %pool, i64 {NEXT_IDENTITY}
  %identity = atomicrmw add ptr %identity.at, i64 1 acq_rel
{_load("spins", "pool", SPINS)}
{_load("lock", "pool", _function("pthread_mutex_lock"), "ptr")}
{_load("unlock", "pool", _function("pthread_mutex_unlock"), "ptr")}
{_load("wait", "pool", _function("pthread_cond_wait"), "ptr")}
  %mutex = getelementptr i8, ptr %pool, i64 {MUTEX}
  %condition = getelementptr i8, ptr %pool, i64 {CONDITION}
  %sleepers = getelementptr i8, ptr %pool, i64 {SLEEPERS}
  br label %look
look:
  %seen = phi i64 [0, %0], [%seen, %idle], [%seen, %enter], [%generation, %leave], [%generation, %missed], [%seen, %woken]
  %count = phi i64 [0, %0], [%count1, %idle], [0, %enter], [0, %leave], [%count, %missed], [0, %woken]
  %state = load atomic i64, ptr %pool acquire, align 8
  %generation = lshr i64 %state, 32
  %old = icmp eq i64 %generation, %seen
  br i1 %old, label %idle.test, label %fresh
fresh:
{_load("wanted", "pool", WANTED, "i64", "monotonic")}
  %open = trunc i64 %state to i1
  %counted = icmp slt i64 %identity, %wanted
  %may = and i1 %open, %counted
  br i1 %may, label %enter, label %missed
missed:
  br label %look
enter:
  %inside = add i64 %state, 2
  %swap = cmpxchg ptr %pool, i64 %state, i64 %inside acq_rel monotonic
  %entered = extractvalue {{i64, i1}} %swap, 1
  br i1 %entered, label %region, label %look
region:
{_load("stride", "pool", REGION_STRIDE)}
{_load("base", "pool", REGION_SCRATCH, "ptr")}
  %index = sub i64 %identity, 1
  %offset = mul i64 %index, %stride
  %scratch = getelementptr i8, ptr %base, i64 %offset
  call void @work(ptr %pool, ptr %scratch)
  br label %leave
leave:
  %before = atomicrmw sub ptr %pool, i64 2 acq_rel
  br label %look
idle.test:
  %count1 = add i64 %count, 1
  %tired = icmp ugt i64 %count1, %spins
  br i1 %tired, label %sleep, label %idle
idle:
  {pause}
  br label %look
sleep:
  %r0 = call i32 %lock(ptr %mutex)
  %s0 = atomicrmw add ptr %sleepers, i64 1 seq_cst
  br label %check
check:
  %now = load atomic i64, ptr %pool seq_cst, align 8
  %now.generation = lshr i64 %now, 32
  %same = icmp eq i64 %now.generation, %seen
  br i1 %same, label %rest, label %woken
rest:
  %r1 = call i32 %wait(ptr %condition, ptr %mutex)
  br label %check
woken:
  %s1 = atomicrmw sub ptr %sleepers, i64 1 seq_cst
  %r2 = call i32 %unlock(ptr %mutex)
  br label %look
}}

define internal void @start(ptr %pool, i64 %wanted) {{       ; more workers, with all signals blocked; the caller holds the pool
  %thread = alloca i64
  %kept = alloca [16 x i64]
{_load("mask", "pool", _function("pthread_sigmask"), "ptr")}
{_load("how", "pool", SET_MASK)}
{_load("create", "pool", _function("pthread_create"), "ptr")}
{_load("detach", "pool", _function("pthread_detach"), "ptr")}
  %signals = getelementptr i8, ptr %pool, i64 {SIGNALS}
  %how32 = trunc i64 %how to i32
  %m0 = call i32 %mask(i32 %how32, ptr %signals, ptr %kept)
{_load("started", "pool", STARTED)}
  br label %next
next:
  %n = phi i64 [%started, %0], [%n1, %made]
  %n1 = add i64 %n, 1
  %more = icmp slt i64 %n1, %wanted
  br i1 %more, label %make, label %out
make:
  %failed = call i32 %create(ptr %thread, ptr null, ptr @worker, ptr %pool)
  %bad = icmp ne i32 %failed, 0
  br i1 %bad, label %refused, label %made
made:
  %id = load i64, ptr %thread
  %d = call i32 %detach(i64 %id)
  store i64 %n1, ptr %started.at
  br label %next
refused:                                                    ; the system gives no more threads: be content with these
{_store("%n1", "pool", WANTED, "wanted.at")}
  br label %out
out:
  %m1 = call i32 %mask(i32 %how32, ptr %kept, ptr null)
  ret void
}}

define void @region(ptr %pool, ptr %kernel, ptr %arguments, i64 %units, i64 %grain, ptr %scratch) {{
  %none = icmp sle i64 %units, 0
  br i1 %none, label %out, label %some
some:
  %small = icmp sle i64 %units, %grain
  br i1 %small, label %alone, label %large
large:
{_load("wanted", "pool", WANTED, "i64", "monotonic")}
  %single = icmp sle i64 %wanted, 1
  br i1 %single, label %alone, label %ask
ask:
  %busy = getelementptr i8, ptr %pool, i64 {BUSY}
  %taken = cmpxchg ptr %busy, i64 0, i64 1 acq_rel monotonic
  %mine = extractvalue {{i64, i1}} %taken, 1
  br i1 %mine, label %have, label %alone
alone:
  call void %kernel(ptr %arguments, i64 0, i64 %units, ptr %scratch)
  ret void
have:
{_load("started", "pool", STARTED)}
  %enough = add i64 %started, 1
  %few = icmp slt i64 %enough, %wanted
  br i1 %few, label %begin, label %publish
begin:
  call void @start(ptr %pool, i64 %wanted)
  br label %publish
publish:
  %most = mul i64 %grain, {MOST_CHUNKS}
  %round = add i64 %most, -1
  %sum = add i64 %units, %round
  %times = sdiv i64 %sum, %most
  %chunk = mul i64 %times, %grain
{_store("%kernel", "pool", KERNEL, "at.kernel", "ptr")}
{_store("%arguments", "pool", ARGUMENTS, "at.arguments", "ptr")}
{_store("%units", "pool", UNITS, "at.units")}
{_store("%chunk", "pool", CHUNK, "at.chunk")}
{_load("stride", "pool", STRIDE, "i64", "acquire")}
{_load("base", "pool", SCRATCH, "i64", "acquire")}
{_store("%stride", "pool", REGION_STRIDE, "at.stride")}
{_store("%base", "pool", REGION_SCRATCH, "at.base")}
{_store("0", "pool", NEXT, "at.next", "i64", "monotonic")}
  %state = load atomic i64, ptr %pool monotonic, align 8
  %generation = lshr i64 %state, 32
  %generation1 = add i64 %generation, 1
  %shifted = shl i64 %generation1, 32
  %zero = icmp eq i64 %shifted, 0                           ; a worker begins with generation 0 seen
  %valid = select i1 %zero, i64 4294967296, i64 %shifted
  %opened = or i64 %valid, 1
  %x = atomicrmw xchg ptr %pool, i64 %opened seq_cst
  %sleepers.at = getelementptr i8, ptr %pool, i64 {SLEEPERS}
  %sleepers = load atomic i64, ptr %sleepers.at seq_cst, align 8
  %asleep = icmp sgt i64 %sleepers, 0
  br i1 %asleep, label %wake, label %help
wake:
{_load("lock", "pool", _function("pthread_mutex_lock"), "ptr")}
{_load("unlock", "pool", _function("pthread_mutex_unlock"), "ptr")}
{_load("broadcast", "pool", _function("pthread_cond_broadcast"), "ptr")}
  %mutex = getelementptr i8, ptr %pool, i64 {MUTEX}
  %condition = getelementptr i8, ptr %pool, i64 {CONDITION}
  %r0 = call i32 %lock(ptr %mutex)
  %r1 = call i32 %broadcast(ptr %condition)
  %r2 = call i32 %unlock(ptr %mutex)
  br label %help
help:
  call void @work(ptr %pool, ptr %scratch)
  %c = atomicrmw and ptr %pool, i64 -2 acq_rel
  br label %look
look:
  %waits = phi i64 [0, %help], [%waits1, %spin], [%waits1, %give]
  %left = load atomic i64, ptr %pool acquire, align 8
  %inside = and i64 %left, 4294967294
  %done = icmp eq i64 %inside, 0
  br i1 %done, label %close, label %hold
hold:
  %waits1 = add i64 %waits, 1
  %long = icmp ugt i64 %waits1, 2000
  br i1 %long, label %give, label %spin
spin:
  {pause}
  br label %look
give:
{_load("yield", "pool", _function("sched_yield"), "ptr")}
  %y = call i32 %yield()
  br label %look
close:
  store atomic i64 0, ptr %busy release, align 8
  br label %out
out:
  ret void
}}
"""


def _operands(count: int, prefix: str) -> str:
    """Load the operands of a record: %{prefix}1, %{prefix}2, …"""
    return "\n".join(f"  %{prefix}{n}.at = getelementptr i64, ptr %record, i64 {n}\n  %{prefix}{n} = load i64, ptr %{prefix}{n}.at"
                     for n in range(1, count + 1))


def _word(name: str, index: str, kind: str = "i64") -> str:
    """Load a word of the frame."""
    return f"  %{name}.at = getelementptr i64, ptr %frame, i64 %{index}\n  %{name} = load {kind}, ptr %{name}.at"


def _advance(record: int, *, label: str) -> str:
    return f"  %{label}.next = add i64 %place, {RECORD_WORDS[record]}\n  br label %step"


def _interpreter() -> str:
    ends = {"launch": "gathered", "enter": "entered", "leave": "left", "compute": "computed", "copy": "copied"}
    sources = ", ".join(f"[%{name}.next, %{ends.get(name, name)}]" for name in (
        "launch", "zero", "copy", "jump", "unless", "less", "move", "compute", "read", "enter", "turn", "leave", "poll"))
    table = "\n    ".join(f"i64 {op}, label %{name}" for op, name in (
        (LAUNCH, "launch"), (ZERO, "zero"), (COPY, "copy"), (JUMP, "jump"), (UNLESS, "unless"), (NOT_LESS, "less"), (MOVE, "move"),
        (COMPUTE, "compute"), (READ, "read"), (HOST, "host"), (ENTER, "enter"), (TURN, "turn"), (LEAVE, "leave"), (POLL, "poll")))
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
  ret i64 {FINISHED}
launch:
{_operands(7, "l")}
{_word("units", "l2")}
{_word("scratch", "l4", "ptr")}
  %kernel = inttoptr i64 %l1 to ptr
  %arguments = getelementptr i64, ptr %frame, i64 %l5
  %list = getelementptr i64, ptr %record, i64 {RECORD_WORDS[LAUNCH]}
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
  call void @region(ptr %pool, ptr %kernel, ptr %arguments, i64 %units, i64 %l3, ptr %scratch)
  %launch.next = add i64 %l7, 0
  br label %step
zero:
{_operands(2, "z")}
{_word("z.slot", "z1", "ptr")}
{_word("z.bytes", "z2")}
  call void @llvm.memset.p0.i64(ptr %z.slot, i8 0, i64 %z.bytes, i1 false)
{_advance(ZERO, label="zero")}
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
{_advance(COPY, label="copy")}
jump:
{_operands(1, "j")}
  %jump.next = add i64 %j1, 0
  br label %step
unless:
{_operands(2, "u")}
{_word("u.slot", "u1", "ptr")}
  %u.value = load i8, ptr %u.slot
  %u.true = icmp ne i8 %u.value, 0
  %u.on = add i64 %place, {RECORD_WORDS[UNLESS]}
  %unless.next = select i1 %u.true, i64 %u.on, i64 %u2
  br label %step
less:
{_operands(3, "n")}
{_word("n.left", "n1")}
{_word("n.right", "n2")}
  %n.less = icmp slt i64 %n.left, %n.right
  %n.on = add i64 %place, {RECORD_WORDS[NOT_LESS]}
  %less.next = select i1 %n.less, i64 %n.on, i64 %n3
  br label %step
move:
{_operands(2, "m")}
{_word("m.value", "m2")}
  %m.to = getelementptr i64, ptr %frame, i64 %m1
  store i64 %m.value, ptr %m.to
{_advance(MOVE, label="move")}
compute:
{_operands(4, "k")}
{_word("a", "k3")}
{_word("b", "k4")}
  switch i64 %k1, label %k.add [
    i64 {MULTIPLY}, label %k.multiply
    i64 {FLOOR_DIVIDE}, label %k.divide
    i64 {REMAINDER}, label %k.divide
    i64 {MINIMUM}, label %k.minimum
    i64 {MAXIMUM}, label %k.maximum
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
  %wants.rest = icmp eq i64 %k1, {REMAINDER}
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
{_advance(COMPUTE, label="compute")}
read:
{_operands(2, "r")}
{_word("r.slot", "r2", "ptr")}
  %r.value = load i64, ptr %r.slot
  %r.to = getelementptr i64, ptr %frame, i64 %r1
  store i64 %r.value, ptr %r.to
{_advance(READ, label="read")}
host:
{_operands(1, "h")}
  %h.next = add i64 %place, {RECORD_WORDS[HOST]}
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
{_advance(ENTER, label="enter")}
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
{_advance(TURN, label="turn")}
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
{_advance(LEAVE, label="leave")}
poll:                           ; once a second, return, so that Python can handle its signals
  %clock.at = getelementptr i64, ptr %frame, i64 {CLOCK}
  %clock = load i64, ptr %clock.at
  %now = call i64 %time(ptr null)
  store i64 %now, ptr %clock.at
  %poll.next = add i64 %place, {RECORD_WORDS[POLL]}
  %first = icmp eq i64 %clock, 0
  %unchanged = icmp eq i64 %clock, %now
  %on = or i1 %first, %unchanged
  br i1 %on, label %step, label %interrupted
interrupted:
  store i64 %poll.next, ptr %frame
  ret i64 {INTERRUPTED}
}}
"""


def _builtin(bytes_header: int) -> str:
    functions = "\n".join(f"  %f{n}.at = getelementptr ptr, ptr %table, i64 {n}\n  %{name} = load ptr, ptr %f{n}.at"
                          for n, name in enumerate(TABLE))
    numbers = "\n".join(f"  %b{n}.at = getelementptr i64, ptr %bound, i64 {n}\n  %{name} = load i64, ptr %b{n}.at"
                        for n, name in ((BOUND_CODE, "code.place"), (BOUND_FRAME, "frame.place"), (BOUND_WORDS, "words"),
                                        (BOUND_ARGUMENTS, "wanted"), (BOUND_RELEASES, "releases")))
    return f"""
define ptr @call(ptr %self, ptr %arguments, i64 %count) {{    ; METH_FASTCALL: words to the frame's arguments, run, None
  %bound = getelementptr i8, ptr %self, i64 {bytes_header}
{numbers}
  %code = getelementptr i64, ptr %bound, i64 %code.place
  %template = getelementptr i64, ptr %bound, i64 %frame.place
  %b5.at = getelementptr i64, ptr %bound, i64 {BOUND_POOL}
  %cell = load ptr, ptr %b5.at
  %b6.at = getelementptr i64, ptr %bound, i64 {BOUND_TABLE}
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
  %word = call i64 %PyLong_AsLongLong(ptr %object)
  %odd = icmp eq i64 %word, -1
  br i1 %odd, label %doubtful, label %converted
doubtful:
  %error = call ptr %PyErr_Occurred()
  %failed = icmp ne ptr %error, null
  br i1 %failed, label %fail, label %converted
converted:
  %place = add i64 %n, {HEADER_WORDS}
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
  %finished = icmp eq i64 %outcome, {FINISHED}
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
