"""A copy with the same reads and writes as a workload: the time below which no program bound by memory can be.

Chunks of memory are read and written in turn, in the workload's ratio, by a loop of vectors compiled by LLVM, each
thread on its share; with ordinary stores and with those that go past the caches, of which the faster counts.
"""

from __future__ import annotations

import ctypes
import functools
import statistics
from functools import partial

import numpy as np
from ceilings import compile_loop, parallel_seconds

LINE = 64
CHUNK = 64 * LINE
TURNS, SECONDS = 5, 0.01
KINDS = {"ordinary": "", "past the caches": ", !nontemporal !{i32 1}"}


def copy_seconds(reads: int, writes: int, threads: int) -> float:
    """Seconds to read and to write so many bytes: the median of some turns, of the faster kind of stores."""
    return min(median_of_turns(kind, reads, writes, threads) for kind in KINDS)


def median_of_turns(kind: str, reads: int, writes: int, threads: int) -> float:
    """Each thread repeats its share so often that a turn takes a while, and the threads need not meet between."""
    chunks = max(1, (reads + writes) // (2 * CHUNK * threads))
    sizes = [max(LINE, n // (threads * chunks * LINE) * LINE) for n in (reads, writes)]
    sizes = [size if n else 0 for size, n in zip(sizes, (reads, writes))]
    blocks = [[np.ones(chunks * size + LINE, np.uint8) for size in sizes] for _ in range(threads)]
    jobs = [partial(loop(kind), *map(aligned, each), chunks, *(size // LINE for size in sizes)) for each in blocks]
    once = min(parallel_seconds([partial(job, 1) for job in jobs]) for _ in range(3))
    repeats = max(1, round(SECONDS / once))
    turns = [parallel_seconds([partial(job, repeats) for job in jobs]) for _ in range(TURNS)]
    return statistics.median(turns) / repeats


def aligned(block: np.ndarray) -> int:
    """The address of the first whole line of a block."""
    return -(-block.ctypes.data // LINE) * LINE


@functools.cache
def loop(kind: str) -> ctypes._CFuncPtr:
    """The loop for a kind of stores; what owns its code hangs on it."""
    engine, address = compile_loop(loop_source(KINDS[kind]))
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 4)(address)
    function.engine = engine
    return function


def loop_source(hint: str) -> str:
    """LLVM's text: for each repeat, for each chunk, read its lines, then write its lines."""
    return f"""
define void @loop(ptr %source, ptr %target, i64 %chunks, i64 %loads, i64 %stores, i64 %repeats) {{
entry:
  br label %turn
turn:
  %r = phi i64 [0, %entry], [%r1, %turned]
  %before = phi <16 x i32> [zeroinitializer, %entry], [%written, %turned]
  br label %chunk
chunk:
  %c = phi i64 [0, %turn], [%c1, %chunked]
  %start = phi <16 x i32> [%before, %turn], [%written, %chunked]
  %from = mul i64 %c, %loads
  %to = mul i64 %c, %stores
  %reads = icmp sgt i64 %loads, 0
  br i1 %reads, label %load, label %loaded
load:
  %i = phi i64 [0, %chunk], [%i1, %load]
  %sum = phi <16 x i32> [%start, %chunk], [%sum1, %load]
  %at = add i64 %from, %i
  %p = getelementptr <16 x i32>, ptr %source, i64 %at
  %x = load <16 x i32>, ptr %p, align {LINE}
  %sum1 = xor <16 x i32> %sum, %x
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, %loads
  br i1 %more, label %load, label %loaded
loaded:
  %written = phi <16 x i32> [%start, %chunk], [%sum1, %load]
  %writes = icmp sgt i64 %stores, 0
  br i1 %writes, label %store, label %chunked
store:
  %j = phi i64 [0, %loaded], [%j1, %store]
  %place = add i64 %to, %j
  %q = getelementptr <16 x i32>, ptr %target, i64 %place
  store <16 x i32> %written, ptr %q, align {LINE}{hint}
  %j1 = add i64 %j, 1
  %again = icmp slt i64 %j1, %stores
  br i1 %again, label %store, label %chunked
chunked:
  %c1 = add i64 %c, 1
  %next = icmp slt i64 %c1, %chunks
  br i1 %next, label %chunk, label %turned
turned:
  %r1 = add i64 %r, 1
  %repeat = icmp slt i64 %r1, %repeats
  br i1 %repeat, label %turn, label %exit
exit:
  %seen = extractelement <16 x i32> %written, i32 0
  %odd = icmp eq i32 %seen, 12345
  br i1 %odd, label %never, label %done
never:
  store i32 %seen, ptr %target
  br label %done
done:
  ret void
}}"""
