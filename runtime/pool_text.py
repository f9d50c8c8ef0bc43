"""Worker threads and parallel regions, as LLVM text.

A region is one kernel on all threads. The caller publishes it under a new generation in the pool's `STATE`
(generation << 32 | threads inside << 1 | open); a worker that is awake enters by compare-and-swap, takes chunks by an atomic
counter and leaves. The caller works too, closes the region when no chunk is left, and waits only for workers that are
inside: one that still sleeps is not waited for. POSIX threads are called through the addresses in the pool, so that the
code holds none.
"""

from __future__ import annotations

from . import abi


def _function(offset_of: str) -> int:
    return abi.FUNCTIONS + 8 * abi.POOL_FUNCTIONS.index(offset_of)


def _load(name: str, base: str, offset: int, kind: str = "i64", order: str = "") -> str:
    how = f"atomic {kind}, ptr %{name}.at {order}, align 8" if order else f"{kind}, ptr %{name}.at"
    return f"  %{name}.at = getelementptr i8, ptr %{base}, i64 {offset}\n  %{name} = load {how}"


def _store(value: str, base: str, offset: int, label: str, kind: str = "i64", order: str = "") -> str:
    how = f"atomic {kind} {value}, ptr %{label} {order}, align 8" if order else f"{kind} {value}, ptr %{label}"
    return f"  %{label} = getelementptr i8, ptr %{base}, i64 {offset}\n  store {how}"


def pool_text(pause: str) -> str:
    """The functions `worker`, `region` and `pause`; the argument is the instruction that makes a spinning thread
    pause.
    """
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
{_load("kernel", "pool", abi.KERNEL, "ptr")}
{_load("arguments", "pool", abi.ARGUMENTS, "ptr")}
{_load("units", "pool", abi.UNITS)}
{_load("chunk", "pool", abi.CHUNK)}
  %next = getelementptr i8, ptr %pool, i64 {abi.NEXT}
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
  %identity.at = getelementptr i8, ptr %pool, i64 {abi.NEXT_IDENTITY}
  %identity = atomicrmw add ptr %identity.at, i64 1 acq_rel
{_load("spins", "pool", abi.SPINS)}
{_load("lock", "pool", _function("pthread_mutex_lock"), "ptr")}
{_load("unlock", "pool", _function("pthread_mutex_unlock"), "ptr")}
{_load("wait", "pool", _function("pthread_cond_wait"), "ptr")}
{_load("give", "pool", _function("sched_yield"), "ptr")}
  %mutex = getelementptr i8, ptr %pool, i64 {abi.MUTEX}
  %condition = getelementptr i8, ptr %pool, i64 {abi.CONDITION}
  %sleepers = getelementptr i8, ptr %pool, i64 {abi.SLEEPERS}
  br label %look
look:
  %seen = phi i64 [0, %0], [%seen, %idle], [%seen, %yield], [%seen, %enter], [%generation, %leave], [%generation, %missed], [%seen, %woken]
  %count = phi i64 [0, %0], [%count1, %idle], [%count1, %yield], [0, %enter], [0, %leave], [%count, %missed], [0, %woken]
  %state = load atomic i64, ptr %pool acquire, align 8
  %generation = lshr i64 %state, 32
  %old = icmp eq i64 %generation, %seen
  br i1 %old, label %idle.test, label %fresh
fresh:
{_load("wanted", "pool", abi.REGION_WANTED)}
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
{_load("stride", "pool", abi.REGION_STRIDE)}
{_load("base", "pool", abi.REGION_SCRATCH, "ptr")}
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
  %turn = and i64 %count1, 127
  %polite = icmp eq i64 %turn, 0                             ; the caller may be waiting for this processor
  br i1 %polite, label %yield, label %look
yield:
  %y = call i32 %give()
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
{_load("how", "pool", abi.SET_MASK)}
{_load("create", "pool", _function("pthread_create"), "ptr")}
{_load("detach", "pool", _function("pthread_detach"), "ptr")}
  %signals = getelementptr i8, ptr %pool, i64 {abi.SIGNALS}
  %how32 = trunc i64 %how to i32
  %m0 = call i32 %mask(i32 %how32, ptr %signals, ptr %kept)
{_load("started", "pool", abi.STARTED)}
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
{_store("%n1", "pool", abi.WANTED, "wanted.at")}
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
{_load("wanted", "pool", abi.WANTED, "i64", "acquire")}
  %single = icmp sle i64 %wanted, 1
  br i1 %single, label %alone, label %ask
ask:
  %busy = getelementptr i8, ptr %pool, i64 {abi.BUSY}
  %taken = cmpxchg ptr %busy, i64 0, i64 1 acq_rel monotonic
  %mine = extractvalue {{i64, i1}} %taken, 1
  br i1 %mine, label %have, label %alone
alone:
  call void %kernel(ptr %arguments, i64 0, i64 %units, ptr %scratch)
  ret void
have:
{_load("started", "pool", abi.STARTED)}
  %enough = add i64 %started, 1
  %few = icmp slt i64 %enough, %wanted
  br i1 %few, label %begin, label %publish
begin:
  call void @start(ptr %pool, i64 %wanted)
  br label %publish
publish:
  %most = mul i64 %grain, {abi.MOST_CHUNKS}
  %round = add i64 %most, -1
  %sum = add i64 %units, %round
  %times = sdiv i64 %sum, %most
  %chunk = mul i64 %times, %grain
{_store("%kernel", "pool", abi.KERNEL, "at.kernel", "ptr")}
{_store("%arguments", "pool", abi.ARGUMENTS, "at.arguments", "ptr")}
{_store("%units", "pool", abi.UNITS, "at.units")}
{_store("%chunk", "pool", abi.CHUNK, "at.chunk")}
{_store("%wanted", "pool", abi.REGION_WANTED, "at.wanted")}   ; read before the scratch memory, which so is enough
{_load("stride", "pool", abi.STRIDE, "i64", "acquire")}
{_load("base", "pool", abi.SCRATCH, "i64", "acquire")}
{_store("%stride", "pool", abi.REGION_STRIDE, "at.stride")}
{_store("%base", "pool", abi.REGION_SCRATCH, "at.base")}
{_store("0", "pool", abi.NEXT, "at.next", "i64", "monotonic")}
  %state = load atomic i64, ptr %pool monotonic, align 8
  %generation = lshr i64 %state, 32
  %generation1 = add i64 %generation, 1
  %shifted = shl i64 %generation1, 32
  %zero = icmp eq i64 %shifted, 0                           ; a worker begins with generation 0 seen
  %valid = select i1 %zero, i64 4294967296, i64 %shifted
  %opened = or i64 %valid, 1
  %x = atomicrmw xchg ptr %pool, i64 %opened seq_cst
  %sleepers.at = getelementptr i8, ptr %pool, i64 {abi.SLEEPERS}
  %sleepers = load atomic i64, ptr %sleepers.at seq_cst, align 8
  %asleep = icmp sgt i64 %sleepers, 0
  br i1 %asleep, label %wake, label %help
wake:
{_load("lock", "pool", _function("pthread_mutex_lock"), "ptr")}
{_load("unlock", "pool", _function("pthread_mutex_unlock"), "ptr")}
{_load("broadcast", "pool", _function("pthread_cond_broadcast"), "ptr")}
  %mutex = getelementptr i8, ptr %pool, i64 {abi.MUTEX}
  %condition = getelementptr i8, ptr %pool, i64 {abi.CONDITION}
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
