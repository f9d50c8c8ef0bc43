"""What Python and the native runner agree on: the fields of the pool, the step records, frames, and bound calls.

`pool_text` and `runner_text` are the native side; `threads`, `lowering` and `native` write these structures.
"""

from __future__ import annotations

# ---- the pool: byte offsets; words that different threads write have cache lines of their own ------------------------
STATE, NEXT, KERNEL, ARGUMENTS, UNITS, CHUNK, REGION_SCRATCH, REGION_STRIDE = 0, 64, 128, 136, 144, 152, 160, 168
REGION_WANTED = 176
BUSY, SLEEPERS, WANTED, STARTED, SPINS, SCRATCH, STRIDE, NEXT_IDENTITY = 192, 256, 320, 328, 336, 344, 352, 360
FUNCTIONS, SIGNALS, MUTEX, CONDITION, POOL_BYTES = 384, 512, 768, 896, 1024
POOL_FUNCTIONS = (
    "pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_wait", "pthread_cond_broadcast",
    "pthread_create", "pthread_detach", "pthread_sigmask", "sched_yield",
)  # fmt: skip
SET_MASK = FUNCTIONS + 8 * len(POOL_FUNCTIONS)   # the number that SIG_SETMASK is here

# ---- step records: the first word, then words of the frame unless said otherwise -------------------------------------
(DONE, LAUNCH, TOGETHER, ZERO, COPY, JUMP, UNLESS, NOT_LESS, MOVE, COMPUTE, READ, HOST, ENTER, TURN, LEAVE,
 POLL) = range(16)
RECORD_WORDS = {
    DONE: 1,
    # function address (itself), units, grain (itself), scratch, first argument word, count (itself),
    # where the list of the arguments' words ends (a place in the code), its row in a table of parts (the word itself;
    # 0: run it now); the list follows
    LAUNCH: 9,
    TOGETHER: 4,                 # the table's first row, its last end (words themselves); scratch
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

# ---- the arguments of `turns`, before those of its kernels (turns_text.py) -------------------------------------------
# right, left and aside: the largest of any step; words: how many there are in all
TURNS_HEADER = (
    "steps", "turns", "phase", "rows", "columns", "blocks", "lag", "slope", "skew", "right", "left", "aside",
    "row_extent", "column_extent", "wraps", "words",
)  # fmt: skip
TURNS_STEP = ("address", "right", "left", "aside", "first", "count")     # first, count: the kernel's arguments
TURNS_TABLES = 4                                 # of a kernel's arguments: in turn 0, turn 1, all even, all odd turns

# ---- the builtin: words at the start of a bound call (a bytes object), and the functions in its table ----------------
BOUND_CODE, BOUND_FRAME, BOUND_WORDS, BOUND_ARGUMENTS, BOUND_RELEASES, BOUND_POOL, BOUND_TABLE, BOUND_HEADER = range(8)
PYTHON_FUNCTIONS = (
    "PyLong_AsLongLong", "PyErr_Occurred", "PyErr_SetString", "PyErr_CheckSignals", "PyEval_SaveThread",
    "PyEval_RestoreThread", "Py_IncRef",
)  # fmt: skip
TABLE = (*PYTHON_FUNCTIONS, "none", "type_error", "message", "time", "array_type")
# where an object has its type, and a NumPy array its data (checked by `native`)
OBJECT_TYPE, ARRAY_DATA = 8, 16

# ---- a table of parts, kernels that run in one region: the words of a row; the word before the first row is 0 --------
PART_KERNEL, PART_ARGUMENTS, PART_UNITS, PART_GRAIN, PART_END, PART_WORDS = range(6)
MOST_PARTS = 256
TICKS = 10                       # a part's share of the region: 2^10 ticks for each grain, one at least

MOST_CHUNKS = 256                # of one region: many enough to balance, few enough that taking one costs nothing
