"""Words in order of their keys, stably: by their ranks where they are few, else digit by digit from the lowest.

A word is a key over a position, in 64 or 128 bits. Words lie in the order of their positions at first, and each digit
is sorted by stably, so that only digits of keys are looked at; a digit that all words have in common is passed over.
Nothing branches on what is compared.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.types import uint32, uint64
from .types import INDEX, POINTER, Type, vector
from .writer import Function, Index, Module, X

FEW = {1: 112, 2: 24}                    # words of so many 64-bit words are ranked, rather than counted
MANY = 2500                             # words: from here on digits are wider
NARROW, WIDE = 8, 11                    # bits of a digit
PICKED = 8                              # the smallest are found one after the other up to so many
FROM, LEAST_CHOSEN_FROM = 4, 512        # the smallest are picked or chosen from so many times more, and so many, words
LANES, TOGETHER = 8, 4                  # words that so many others are compared with at once


def digits(key_bits: int, width: int) -> list[tuple[int, int]]:
    """Where the digits of a key begin in it, and how many bits they have."""
    return [(start, min(width, key_bits - start)) for start in range(0, key_bits, width)]


def counter_bytes(key_bits: int) -> int:
    """Scratch for the counters of all digits."""
    return max(sum(4 << bits for _, bits in digits(key_bits, width)) for width in (NARROW, WIDE))


def sort_words(w: Function, first: X, second: X, counters: X, n: X, key_bits: int, words: int,
               wanted: int | None = None) -> X:
    """Sort n words, which lie in `first`, or at least the `wanted` smallest of them; the result is where they lie
    afterwards. Either run has room for as many words more as are looked at together.
    """

    def chosen() -> X:
        name = f"choose_{key_bits}"
        w.module.helper(name, lambda m: _write_choice(m, name, key_bits, words))
        left = w.call(name, INDEX, first, second, counters, n, wanted)
        assert left is not None
        return _all_sorted(w, second, first, counters, left, key_bits, words)

    def all_words() -> X:
        return _all_sorted(w, first, second, counters, n, key_bits, words)

    def picked() -> X:
        return _called(w, "pick", _write_pick, first, second, n, w.constant(wanted, INDEX))

    if wanted is None:
        return all_words()
    if wanted <= PICKED and words == 1:
        return w.when(_less(w, n, FROM * wanted), all_words, picked)[0]
    return w.when(_less(w, n, max(FROM * wanted, LEAST_CHOSEN_FROM)), all_words, chosen)[0]


def _all_sorted(w: Function, first: X, second: X, counters: X, n: X, key_bits: int, words: int) -> X:

    def ranked() -> X:
        return _called(w, f"rank_{words}", lambda m: _write_rank(m, words), first, second, n)

    def counted(width: int) -> X:
        name = f"radix_{key_bits}_{width}"
        return _called(w, name, lambda m: _write_radix(m, name, digits(key_bits, width), words), first, second,
                       counters, n)

    def by_digits() -> tuple:
        if key_bits <= NARROW * 2:
            return (counted(NARROW),)
        return w.when(_less(w, n, MANY), lambda: counted(NARROW), lambda: counted(WIDE))

    return w.when(_less(w, n, FEW[words]), ranked, by_digits)[0]


def _less(w: Function, n: X, bound: int) -> X | bool:
    return n.number < bound if n.number is not None else w.compare("slt", n, bound)


def _called(w: Function, name: str, write, *args: X) -> X:
    w.module.helper(name, write)
    result = w.call(name, POINTER, *args)
    assert result is not None
    return result


def _element(words: int) -> Type:
    return vector("i64") if words == 1 else vector("i128")


def _at(w: Function, run: X, n: Index, words: int) -> X:
    return w.at(run, w.mul(n, words), uint64)


def _load(w: Function, run: X, n: Index, words: int) -> X:
    return w.let(_element(words), f"load {_element(words)}, {_at(w, run, n, words)}, align 8")


def _store(w: Function, x: X, run: X, n: Index, words: int) -> None:
    w.do(f"store {x}, {_at(w, run, n, words)}, align 8")


# ---- few words: each goes to where so many are smaller --------------------------------------------------------------


def _write_rank(module: Module, words: int) -> None:
    w = module.function(f"rank_{words}", {"first": POINTER, "second": POINTER, "n": INDEX}, returns=POINTER,
                        noalias=("first", "second"), attributes="noinline nounwind")
    first, second, n = w.parameters
    if words == 1:
        w.store(w.constant(-1, vector("i64", LANES)), w.at(first, n, uint64))     # larger than any word
        w.loop(0, n, TOGETHER, lambda i: _rank_together(w, first, second, i, n))
    else:
        w.loop(0, n, 1, lambda i: _rank_pair(w, first, second, i, n))
    w.ret(second)


def _rank_together(w: Function, run: X, target: X, i: X, n: X) -> None:
    """Several words, which others are compared with in lanes; what is larger than any word goes behind all."""
    mine = [_load(w, run, w.add(i, k), 1) for k in range(TOGETHER)]
    spread = [w.splat(x, LANES) for x in mine]

    def turn(j: X, *counts: X) -> list[X]:
        others = w.load(uint64, w.at(run, j, uint64), LANES)
        return [w.binary("sub", c, w.convert("sext", w.compare("ult", others, x), "i64"))
                for c, x in zip(counts, spread)]

    counts = w.loop(0, n, LANES, turn, *[w.constant(0, vector("i64", LANES))] * TOGETHER)
    for x, count in zip(mine, counts):
        _store(w, x, target, w.reduce_lanes(lambda a, b: w.binary("add", a, b), count), 1)


def _rank_pair(w: Function, run: X, target: X, i: X, n: X) -> None:
    x = _load(w, run, i, 2)

    def turn(j: X, count: X) -> X:
        return count + w.convert("zext", w.compare("ult", _load(w, run, j, 2), x), "i64")

    _store(w, x, target, w.loop(0, n, 1, turn, w.constant(0, INDEX))[0], 2)


# ---- many words: digit by digit --------------------------------------------------------------------------------------


def _write_radix(module: Module, name: str, parts: Sequence[tuple[int, int]], words: int) -> None:
    w = module.function(name, {"first": POINTER, "second": POINTER, "counters": POINTER, "n": INDEX}, returns=POINTER,
                        noalias=("first", "second", "counters"), attributes="noinline nounwind")
    first, second, counters, n = w.parameters
    tables, at = [], 0
    for _, bits in parts:
        tables.append(w.at(counters, at, uint32))
        at += 1 << bits
    _clear(w, counters, at)

    def count(i: X) -> None:
        x = _load(w, first, i, words)
        for table, part in zip(tables, parts):
            _count(w, table, _digit(w, x, part, words))

    w.loop(0, n, 1, count)
    source, target = first, second
    whole = w.convert("trunc", n, "i32")
    for table, part in zip(tables, parts):
        common = w.load(uint32, w.at(table, _digit(w, _load(w, source, 0, words), part, words), uint32))
        source, target = _pass(w, w.compare("eq", common, whole), source, target, table, part, n, words)
    w.ret(source)


def _digit(w: Function, x: X, part: tuple[int, int], words: int) -> X:
    """A digit of the key of a word."""
    shifted = w.binary("lshr", x, part[0] + (32 if words == 1 else 64))
    if words == 2:
        shifted = w.convert("trunc", shifted, "i64")
    return w.binary("and", shifted, (1 << part[1]) - 1)


def _clear(w: Function, table: X, number: int) -> None:
    w.loop(0, number, 16, lambda i: w.store(w.constant(0, vector("i32", 16)), w.at(table, i, uint32)))


def _count(w: Function, table: X, digit: X) -> X:
    """What the counter of a digit was before it went up."""
    place = w.at(table, digit, uint32)
    before = w.load(uint32, place)
    w.store(w.add(before, 1), place)
    return before


def _pass(w: Function, is_common: X, source: X, target: X, table: X, part: tuple[int, int], n: X,
          words: int) -> tuple:
    """The words in the other run by one digit, and the runs changed; or all as it was, if the digit is the same."""

    def move() -> tuple[X, X]:
        def start(d: X, before: X) -> X:
            place = w.at(table, d, uint32)
            own = w.load(uint32, place)
            w.store(before, place)
            return before + own

        w.loop(0, 1 << part[1], 1, start, w.constant(0, vector("i32")))

        def one(i: X) -> None:
            x = _load(w, source, i, words)
            to = _count(w, table, _digit(w, x, part, words))
            _store(w, x, target, w.convert("zext", to, "i64"), words)

        w.loop(0, n, 1, one)
        return target, source

    return w.when(is_common, lambda: (source, target), move)


# ---- the smallest few ----------------------------------------------------------------------------------------------


def _write_choice(module: Module, name: str, key_bits: int, words: int) -> None:
    """Copies to the second run, in their order, all words whose highest digit is not above that of the last wanted
    word; how many there are.
    """
    w = module.function(name, {"first": POINTER, "second": POINTER, "counters": POINTER, "n": INDEX, "wanted": INDEX},
                        returns=INDEX, noalias=("first", "second", "counters"), attributes="noinline nounwind")
    first, second, counters, n, wanted = w.parameters
    width = min(WIDE, key_bits)
    part = key_bits - width, width
    _clear(w, counters, 1 << width)

    def count(i: X) -> None:
        _count(w, counters, _digit(w, _load(w, first, i, words), part, words))

    w.loop(0, n, 1, count)

    def bound(d: X, before: X, taken: X) -> tuple[X, X]:
        own = w.convert("zext", w.load(uint32, w.at(counters, d, uint32)), "i64")
        return before + own, taken + w.convert("zext", w.compare("slt", before, wanted), "i64")

    _, taken = w.loop(0, 1 << width, 1, bound, w.constant(0, INDEX), w.constant(0, INDEX))

    def copy(i: X, to: X) -> X:
        x = _load(w, first, i, words)
        _store(w, x, second, to, words)
        return to + w.convert("zext", w.compare("slt", _digit(w, x, part, words), taken), "i64")

    w.ret(w.loop(0, n, 1, copy, w.constant(0, INDEX))[0])


def _write_pick(module: Module) -> None:
    """The smallest words one after the other: each is the smallest of those that are larger than the one before."""
    w = module.function("pick", {"first": POINTER, "second": POINTER, "n": INDEX, "wanted": INDEX}, returns=POINTER,
                        noalias=("first", "second"), attributes="noinline nounwind")
    first, second, n, wanted = w.parameters
    largest = w.constant(-1, vector("i64", LANES))
    for k in range(TOGETHER):
        w.store(largest, w.at(first, w.add(n, k * LANES), uint64))

    def smaller(a: X, b: X) -> X:
        return w.intrinsic("umin", a, b)

    def one(k: X, least: X) -> X:
        bound = w.splat(least, LANES)

        def turn(j: X, *found: X) -> list[X]:
            words = [w.load(uint64, w.at(first, w.add(j, n * LANES), uint64), LANES) for n in range(TOGETHER)]
            return [smaller(f, w.select(w.compare("uge", x, bound), x, largest)) for f, x in zip(found, words)]

        a, b, c, d = w.loop(0, n, LANES * TOGETHER, turn, *[largest] * TOGETHER)
        word = w.reduce_lanes(smaller, smaller(smaller(a, b), smaller(c, d)))
        _store(w, word, second, k, 1)
        return word + 1

    w.loop(0, wanted, 1, one, w.constant(0, INDEX))
    w.ret(second)
