"""Several kernels in one parallel region, as LLVM text: what a region runs as its kernel.

A region hands out ranges of ticks. Each part (a kernel, its arguments, its units) has as many as its work is worth,
counted in grains, one part after the other; what is cut is cut between grains, and a part of less than a grain
belongs to whoever has its last tick. So threads share many small kernels and few large ones evenly, without a barrier
between them.
"""

from __future__ import annotations

from . import abi


def _field(name: str, row: str, word: int, kind: str = "i64") -> str:
    return f"  %{name}.at = getelementptr i64, ptr %{row}, i64 {word}\n  %{name} = load {kind}, ptr %{name}.at"


def _set(value: str, word: int) -> str:
    return f"  %to{word} = getelementptr i64, ptr %row, i64 {word}\n  store {value}, ptr %to{word}"


def parts_text() -> str:
    """The functions `enter_part` and `run_parts`."""
    return f"""
define internal void @enter_part(ptr %row, ptr %kernel, ptr %arguments, i64 %units, i64 %grain) {{
{_set("ptr %kernel", abi.PART_KERNEL)}
{_set("ptr %arguments", abi.PART_ARGUMENTS)}
{_set("i64 %units", abi.PART_UNITS)}
{_set("i64 %grain", abi.PART_GRAIN)}
{_field("begin", "row", abi.PART_END - abi.PART_WORDS)}
  %some = call i64 @llvm.smax.i64(i64 %units, i64 0)
  %fine = shl i64 %some, {abi.TICKS}
  %grain1 = add i64 %grain, -1
  %up = add i64 %fine, %grain1
  %ticks = sdiv i64 %up, %grain
  %end = add i64 %begin, %ticks
{_set("i64 %end", abi.PART_END)}
  ret void
}}

define internal i64 @cut(i64 %tick, i64 %begin, i64 %end, i64 %units, i64 %grain) {{   ; the units of a part before a tick
  %inside = sub i64 %tick, %begin
  %some = call i64 @llvm.smax.i64(i64 %inside, i64 0)
  %grains = lshr i64 %some, {abi.TICKS}
  %first = mul i64 %grains, %grain
  %all = icmp sge i64 %tick, %end
  %result = select i1 %all, i64 %units, i64 %first
  ret i64 %result
}}

define internal void @run_parts(ptr %table, i64 %start, i64 %stop, ptr %scratch) {{
  br label %look
look:
  %row = phi ptr [%table, %0], [%following, %next]
  %begin = phi i64 [0, %0], [%end, %next]
{_field("units", "row", abi.PART_UNITS)}
{_field("grain", "row", abi.PART_GRAIN)}
{_field("end", "row", abi.PART_END)}
  %before = icmp sle i64 %end, %start
  br i1 %before, label %next, label %mine
mine:
  %from = call i64 @cut(i64 %start, i64 %begin, i64 %end, i64 %units, i64 %grain)
  %to = call i64 @cut(i64 %stop, i64 %begin, i64 %end, i64 %units, i64 %grain)
  %some = icmp slt i64 %from, %to
  br i1 %some, label %run, label %ran
run:
{_field("kernel", "row", abi.PART_KERNEL, "ptr")}
{_field("arguments", "row", abi.PART_ARGUMENTS, "ptr")}
  call void %kernel(ptr %arguments, i64 %from, i64 %to, ptr %scratch)
  br label %ran
ran:
  %last = icmp sge i64 %end, %stop
  br i1 %last, label %out, label %next
next:
  %following = getelementptr i64, ptr %row, i64 {abi.PART_WORDS}
  br label %look
out:
  ret void
}}
"""
