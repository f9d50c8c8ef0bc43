"""Many turns of a loop on skewed tiles: the native function that calls the loop's kernels, the same for all loops.

A unit is a block of rows, in one of two phases, and the turns of one pass. Its tiles run through all turns, one behind
the other, and through all steps of each (`Tiles` in `ir/schedule.py` says where they stand). The kernels are called by
their addresses, each on the box of rows and columns that its tile has of the block.

The arguments are words: first `abi.TURNS_HEADER`, then for each step `abi.TURNS_STEP`, then for each step the arguments
of its kernel, four times: in turn 0, in turn 1, and in all even and all odd turns that follow. They end in the words of
the box, which are written here, in a copy that each thread has of its own.
"""

from __future__ import annotations

from . import abi


def _words(names: tuple[str, ...], base: str) -> str:
    """Load words that lie side by side: %{name} of each."""
    return "\n".join(f"  %{name}.at = getelementptr i64, ptr %{base}, i64 {n}\n  %{name} = load i64, ptr %{name}.at"
                     for n, name in enumerate(names))


def turns_text() -> str:
    """The function `turns`, which is called as kernels are."""
    step = tuple(f"step.{name}" for name in abi.TURNS_STEP)
    return f"""
define void @turns(ptr %given, i64 %start, i64 %stop, ptr %scratch) {{
entry:
{_words(abi.TURNS_HEADER, "given")}
  %args = alloca i64, i64 %words, align 64
  %bytes = shl i64 %words, 3
  call void @llvm.memcpy.p0.p0.i64(ptr %args, ptr %given, i64 %bytes, i1 false)
  %length = sdiv i64 %row_extent, %blocks
  %last_turn = sub i64 %turns, 1
  %all_lag = mul i64 %last_turn, %lag
  %shift = add i64 %all_lag, %right                            ; of the last step of the last turn
  %all_slope = mul i64 %last_turn, %slope
  %all_left = add i64 %all_slope, %left
  %growth = add i64 %shift, %all_left
  %all_skew = mul i64 %last_turn, %skew
  %all_aside = add i64 %all_skew, %aside
  %width = add i64 %column_extent, %all_aside
  %shrinking = icmp eq i64 %phase, 0
  %is.open = icmp eq i64 %wraps, 0
  br label %units
units:
  %unit = phi i64 [%start, %entry], [%unit.next, %unit.done]
  %more.units = icmp slt i64 %unit, %stop
  br i1 %more.units, label %block, label %done
block:
  %unit.next = add i64 %unit, 1
  %at.first = icmp eq i64 %unit, 0
  %at.last = icmp eq i64 %unit.next, %blocks
  %begin = mul i64 %unit, %length
  %end.usual = add i64 %begin, %length
  %end = select i1 %at.last, i64 %row_extent, i64 %end.usual
  %is_first = and i1 %at.first, %is.open                       ; with nothing on its other side
  %is_last = and i1 %at.last, %is.open
  %first.front = select i1 %shrinking, i64 %begin, i64 %end
  %last.shrinking = and i1 %is_last, %shrinking                ; only its left edge moves, and its right edge lags behind
  %end.shifted = add i64 %end, %shift
  %end.grown.front = add i64 %end, %growth
  %end.inner = select i1 %last.shrinking, i64 %end.shifted, i64 %end
  %unmoved = or i1 %is_last, %shrinking                        ; the last block has nothing in phase 1
  %last.front = select i1 %unmoved, i64 %end.inner, i64 %end.grown.front
  br label %fronts
fronts:
  %front = phi i64 [%first.front, %block], [%front.next, %front.done]
  %more.fronts = icmp slt i64 %front, %last.front
  br i1 %more.fronts, label %columns.begin, label %unit.done
columns.begin:
  br label %across
across:
  %column = phi i64 [0, %columns.begin], [%column.next, %column.done]
  %more.columns = icmp slt i64 %column, %width
  br i1 %more.columns, label %turns.begin, label %front.done
turns.begin:
  br label %through
through:
  %turn = phi i64 [0, %turns.begin], [%turn.next, %turn.done]
  %more.turns = icmp slt i64 %turn, %turns
  br i1 %more.turns, label %steps.begin, label %column.done
steps.begin:
  %turn.lag = mul i64 %turn, %lag
  %turn.slope = mul i64 %turn, %slope
  %turn.skew = mul i64 %turn, %skew
  %odd = and i64 %turn, 1
  %usual = add i64 %odd, 2
  %table = call i64 @llvm.smin.i64(i64 %turn, i64 %usual)
  br label %follow
follow:
  %step = phi i64 [0, %steps.begin], [%step.next, %step.done]
  %more.steps = icmp slt i64 %step, %steps
  br i1 %more.steps, label %box, label %turn.done
box:
  %step.next = add i64 %step, 1
  %step.offset = mul i64 %step, {len(abi.TURNS_STEP)}
  %step.word = add i64 %step.offset, {len(abi.TURNS_HEADER)}
  %record = getelementptr i64, ptr %args, i64 %step.word
{_words(step, "record")}
  %lost.right = add i64 %turn.lag, %step.right
  %lost.left = add i64 %turn.slope, %step.left
  %begin.moved = add i64 %begin, %lost.left
  %inner.begin = select i1 %is_first, i64 %begin, i64 %begin.moved
  %end.moved = sub i64 %end, %lost.right
  %inner.end = select i1 %is_last, i64 %end, i64 %end.moved
  %end.grown = add i64 %end, %lost.left
  %outer.end = select i1 %is_last, i64 %end, i64 %end.grown
  %block.low = select i1 %shrinking, i64 %inner.begin, i64 %inner.end
  %block.high = select i1 %shrinking, i64 %inner.end, i64 %outer.end
  %row = sub i64 %front, %lost.right
  %row.end = add i64 %row, %rows
  %low = call i64 @llvm.smax.i64(i64 %row, i64 %block.low)
  %high = call i64 @llvm.smin.i64(i64 %row.end, i64 %block.high)
  %lost.across = add i64 %turn.skew, %step.aside
  %a.free = sub i64 %column, %lost.across
  %b.free = add i64 %a.free, %columns
  %a = call i64 @llvm.smax.i64(i64 %a.free, i64 0)
  %b = call i64 @llvm.smin.i64(i64 %b.free, i64 %column_extent)
  %some.rows = icmp slt i64 %low, %high
  %some.columns = icmp slt i64 %a, %b
  %some = and i1 %some.rows, %some.columns
  br i1 %some, label %call, label %step.done
call:
  %table.offset = mul i64 %table, %step.count
  %table.word = add i64 %step.first, %table.offset
  %table.end = add i64 %table.word, %step.count
  %arguments = getelementptr i64, ptr %args, i64 %table.word
  %box.end = getelementptr i64, ptr %args, i64 %table.end
  %box.a = getelementptr i64, ptr %box.end, i64 -3
  %box.b = getelementptr i64, ptr %box.end, i64 -2
  %box.turn = getelementptr i64, ptr %box.end, i64 -1
  store i64 %a, ptr %box.a
  store i64 %b, ptr %box.b
  store i64 %turn, ptr %box.turn
  %kernel = inttoptr i64 %step.address to ptr
  %high.before = call i64 @llvm.smin.i64(i64 %high, i64 %row_extent)
  %some.before = icmp slt i64 %low, %high.before
  br i1 %some.before, label %before, label %after
before:
  call void %kernel(ptr %arguments, i64 %low, i64 %high.before, ptr %scratch)
  br label %after
after:                                                         ; rows behind the last one are the first ones
  %some.after = icmp slt i64 %row_extent, %high
  br i1 %some.after, label %wrapped, label %step.done
wrapped:
  %low.after = call i64 @llvm.smax.i64(i64 %low, i64 %row_extent)
  %low.wrapped = sub i64 %low.after, %row_extent
  %high.wrapped = sub i64 %high, %row_extent
  call void %kernel(ptr %arguments, i64 %low.wrapped, i64 %high.wrapped, ptr %scratch)
  br label %step.done
step.done:
  br label %follow
turn.done:
  %turn.next = add i64 %turn, 1
  br label %through
column.done:
  %column.next = add i64 %column, %columns
  br label %across
front.done:
  %front.next = add i64 %front, %rows
  br label %fronts
unit.done:
  br label %units
done:
  ret void
}}
"""
