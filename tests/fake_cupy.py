"""As much of CuPy as runtime/cuda.py asks for, on NumPy memory, with kernels in Triton's interpreter: the code that
drives a GPU runs end to end, and what it hands to the driver is read back as the driver would.

A kernel's "machine code" is the key of its source in `sources`. What is launched on a capturing stream is kept for the
graph, with its arguments as they were.

Arrays compute on the current device, as CuPy's do: results lie there, and operands of another device are refused.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
import threading
import types

import numpy as np
from braze.ir.configuration import configuration
from braze.ir.types import bfloat16
from braze.runtime import cuda, devices, triton_compiler
from braze.runtime.float8 import STORED  # CuPy makes no arrays of these, but takes them for views of memory
from braze.tracer import devices as named_devices
from braze.tracer import random

ATTRIBUTES = {"MultiProcessorCount": 132, "ClockRate": 1_980_000, "WarpSize": 32, "L2CacheSize": 50 << 20,
              "MaxSharedMemoryPerBlockOptin": 232_448, "MaxRegistersPerMultiprocessor": 65536,
              "MemoryClockRate": 2_619_000, "GlobalMemoryBusWidth": 5120}
_WIDTHS = {"i1": ctypes.c_int8, "i32": ctypes.c_int32, "i64": ctypes.c_int64}


class CUDARuntimeError(RuntimeError):
    pass


class CUDADriverError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


class CUBLASError(RuntimeError):
    pass


class Cuda:
    """The state of the fake, and its modules."""

    def __init__(self, devices: int = 1, limit: int = 1 << 30, capability: str = "90"):
        self.devices, self.limit, self.capability, self.device = devices, limit, capability, 0
        self.used: dict[int, int] = dict.fromkeys(range(devices), 0)
        self.blocks: dict[int, tuple[int, int]] = {}         # the pool's: begin, end, device
        self.log: list[tuple] = []
        self.sources: dict[bytes, object] = {}
        self.loaded: list = []
        self.capturing: dict[int, list] = {}
        self.streams = 0
        self.streams_in_use: list[int] = []
        self.handles: dict[int, int] = {}
        self.current_stream = types.SimpleNamespace(
            ptr=0, record=lambda: self.log.append(("event", self.device)) or object(),
            wait_event=lambda event: self.log.append(("waits for an event", self.device)))
        self.module = self._module()

    # ---- the runtime and the driver ----

    def device_of(self, address):
        """The device whose memory lies there."""
        return next(device for begin, (end, device) in self.blocks.items() if begin <= address < end)

    def do(self, work, stream):
        """Work on a stream: done now, or kept for a graph."""
        if stream in self.capturing:
            self.capturing[stream].append(work)
        else:
            work()

    def runtime(self):
        def memset(address, value, size, stream):
            self.log.append(("memset", size))
            self.do(lambda: ctypes.memset(address, value, size), stream)

        def memcpy(target, source, size, kind, stream):
            self.log.append(("memcpy", size, kind))
            self.do(lambda: ctypes.memmove(target, source, size), stream)

        def memcpy_peer(target, to, source, of, size, stream):
            self.log.append(("peer", of, to))
            self.do(lambda: ctypes.memmove(target, source, size), stream)

        def synchronize(stream):
            assert stream not in self.capturing, "waiting for a stream that is captured"
            self.log.append(("wait",))

        names = {f"cudaDevAttr{name}": name for name in ATTRIBUTES}
        return types.SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError, getDeviceCount=lambda: self.devices, getDevice=lambda: self.device,
            free=lambda pointer: self.log.append(("bind", threading.get_ident())),
            memsetAsync=memset, memcpyAsync=memcpy, memcpyPeerAsync=memcpy_peer,
            streamSynchronize=synchronize,
            pointerGetAttributes=lambda address: types.SimpleNamespace(device=self.device_of(address)),
            deviceSynchronize=lambda: self.log.append(("wait",)), **names,
            deviceGetAttribute=lambda name, number: ATTRIBUTES[name],
            getDeviceProperties=lambda number: {"name": b"Fake GPU"},
            memGetInfo=lambda: (self.limit - self.used[self.device], self.limit))

    def driver(self):
        def load(image):
            assert type(image) is bytes
            if image not in self.sources:
                raise CUDADriverError("CUDA_ERROR_INVALID_IMAGE")
            self.loaded.append((self.device, self.sources[image]))
            return len(self.loaded)

        def function(module, name):
            assert self.loaded[module - 1][1].entry == name
            return module

        def launch(f, x, y, z, block_x, block_y, block_z, shared, stream, params, extra):
            device, source = self.loaded[f - 1]
            assert device == self.device and extra == 0 and (block_y, block_z) == (1, 1)
            assert all(type(n) is int for n in (x, y, z, block_x, shared, stream, params))
            words, hidden = self._arguments(source, params)
            self.log.append(("launch", source.entry, (x, y, z), block_x, shared, hidden))
            self.do(lambda: self._interpreted(source)((x, y, z), words), stream)

        return types.SimpleNamespace(
            CUDADriverError=CUDADriverError, moduleLoadData=load, moduleGetFunction=function, launchKernel=launch,
            funcSetAttribute=lambda f, attribute, value: self.log.append(("attribute", attribute, value)))

    def cublas(self):
        """As much of cuBLAS as products need; matrices lie column after column, as it has them."""
        kinds = {0: np.dtype("f4"), 1: np.dtype("f8"), 2: np.dtype("f2"), 14: bfloat16.numpy}
        computed = {68: np.float32, 69: np.float32, 77: np.float32, 70: np.float64}

        def matrices(address, kind, rows, columns, leading, stride, count):
            """A batch of matrices, as views."""
            d = kinds[kind]
            assert leading >= rows and (count == 1 or stride >= leading * columns), "matrices overlap"
            shape, strides = (count, rows, columns), (stride * d.itemsize, d.itemsize, leading * d.itemsize)
            size = ((count - 1) * stride + leading * columns) * d.itemsize
            return np.ndarray(shape, d, (ctypes.c_char * size).from_address(address), strides=strides)

        def multiply(handle, turn_a, turn_b, m, n, k, alpha, a, a_kind, lda, a_stride, b, b_kind, ldb, b_stride,
                     beta, c, c_kind, ldc, c_stride, count, compute, algorithm):
            stream = self.streams_in_use[-1] if self.streams_in_use else self.current_stream.ptr
            if stream in self.capturing:
                raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
            d = computed[compute]
            scale = [np.ctypeslib.as_array((ctypes.c_char * np.dtype(d).itemsize).from_address(p)).view(d)[0]
                     for p in (alpha, beta)]
            assert scale == [1, 0] and algorithm == -1 and self.handles[handle] == 16
            self.log.append(("product", (m, n, k), count, compute, stream))
            x = matrices(a, a_kind, *((k, m) if turn_a else (m, k)), lda, a_stride, count).astype(d)
            y = matrices(b, b_kind, *((n, k) if turn_b else (k, n)), ldb, b_stride, count).astype(d)
            x, y = x.swapaxes(1, 2) if turn_a else x, y.swapaxes(1, 2) if turn_b else y
            matrices(c, c_kind, m, n, ldc, c_stride, count)[...] = (x @ y).astype(kinds[c_kind])

        def create():
            self.handles[len(self.handles) + 1] = 0
            return len(self.handles)

        return types.SimpleNamespace(CUBLASError=CUBLASError, create=create, gemmStridedBatchedEx=multiply,
                                     setMathMode=lambda handle, mode: self.handles.update({handle: mode}))

    def _arguments(self, source, params):
        """The words of the arguments, as the driver reads them; and the two hidden pointers."""
        kinds = [kind for _, kind in source.facts["arguments"]]
        places = (ctypes.c_void_p * (len(kinds) + 2)).from_address(params)
        read = [(ctypes.c_uint64 if kind[0] == "*" else _WIDTHS[kind]).from_address(place).value
                for kind, place in zip([*kinds, "*", "*"], places)]
        assert all(word % 16 == 0 for word, kind in zip(read, kinds) if kind[0] == "*"), "a pointer is not aligned"
        return read[:-2], tuple(read[-2:])

    def _interpreted(self, source):
        from braze.runtime.triton_interpreter import Interpreted

        return Interpreted(source)

    # ---- the module ----

    def _module(self):
        fake = self

        class Pointer:
            def __init__(self, memory, offset=0):
                self.ptr, self.device_id, self.mem = memory.ptr + offset, memory.device_id, memory

        class UnownedMemory:
            def __init__(self, ptr, size, owner, device_id=-1):
                self.ptr, self.size, self.owner, self.device_id = ptr, size, owner, device_id

        class ndarray(np.ndarray):
            def __new__(cls, shape, dtype=float, memptr=None):
                size = int(np.prod(shape)) * np.dtype(dtype).itemsize
                window = (ctypes.c_char * size).from_address(memptr.ptr) if size else bytearray()
                made = np.ndarray.__new__(cls, shape, dtype, buffer=window)
                made.data_pointer = memptr
                return made

            def __array_finalize__(self, other):
                self.data_pointer = getattr(other, "data_pointer", None)

            @property
            def data(self):
                at = self.__array_interface__["data"][0]
                return types.SimpleNamespace(ptr=at, device_id=self.data_pointer.device_id, mem=self.data_pointer)

            @property
            def device(self):
                return Device(self.data_pointer.device_id)

            @property
            def __cuda_array_interface__(self):
                return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.data.ptr, False),
                        "strides": None if self.flags.c_contiguous else self.strides, "version": 3}

            def get(self):
                return np.array(self.view(np.ndarray), order="C")

            def copy(self, order="C"):
                return computed(here(self).copy(order))

            def astype(self, dtype, **options):
                return computed(here(self).astype(dtype, **options))

            def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
                given = {**here(options), **({"out": here(out)} if out else {})}
                results = getattr(ufunc, method)(*here(inputs), **given)
                return (out[0] if len(out) == 1 else out) if out else computed(results)

            def __array_function__(self, function, types, args, kwargs):
                return computed(function(*here(args), **here(kwargs)))

            def __getitem__(self, key):
                keys = key if isinstance(key, tuple) else (key,)
                if any(isinstance(k, (np.ndarray, list)) for k in keys):
                    return computed(here(self)[here(keys)])
                return super().__getitem__(keys if Ellipsis in keys else (*keys, Ellipsis))      # never a scalar

            def __setitem__(self, key, value):
                here(self)[here(key)] = here(value)

        class Allocation:
            """Memory of the pool."""

            def __init__(self, size):
                rounded = -(-max(size, 1) // 512) * 512
                if fake.used[fake.device] + rounded > fake.limit:
                    raise OutOfMemoryError(f"out of memory allocating {rounded} bytes")
                self.block = (ctypes.c_char * (rounded + 512))()
                self.ptr = -(-ctypes.addressof(self.block) // 512) * 512
                self.size, self.device_id = rounded, fake.device
                fake.used[self.device_id] += rounded
                fake.blocks[self.ptr] = self.ptr + rounded, self.device_id

            def __del__(self):
                if hasattr(self, "size"):
                    fake.used[self.device_id] -= self.size
                    del fake.blocks[self.ptr]

        def empty(shape, dtype=float):
            if np.dtype(dtype) in STORED:
                raise ValueError(f"Unsupported dtype {np.dtype(dtype)}")
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            return ndarray(shape, dtype, Pointer(Allocation(size)))

        def array(x, order="C"):
            made = empty(x.shape, x.dtype)
            made.view(np.ndarray)[...] = x.view(np.ndarray)
            return made

        def here(x):
            """Operands as NumPy computes with them: they must lie on the current device."""
            if isinstance(x, ndarray):
                if x.data_pointer.device_id != fake.device:
                    raise ValueError(f"Array device must be same as the current device: array device = "
                                     f"{x.data_pointer.device_id} while current = {fake.device}")
                return x.view(np.ndarray)
            if isinstance(x, np.ndarray):
                raise TypeError("Unsupported type <class 'numpy.ndarray'>")
            if isinstance(x, (tuple, list)):
                return type(x)([here(y) for y in x])
            return {name: here(y) for name, y in x.items()} if isinstance(x, dict) else x

        def computed(x):
            """What NumPy gave, on the current device."""
            if isinstance(x, (tuple, list)):
                return type(x)([computed(y) for y in x])
            return array(np.asarray(x)) if isinstance(x, (np.ndarray, np.generic)) else x

        def asarray(x, dtype=None):
            if hasattr(x, "__cuda_array_interface__") and not isinstance(x, ndarray):
                facts = x.__cuda_array_interface__
                at = facts["data"][0]
                assert facts["version"] == 3 and facts["strides"] is None
                x = ndarray(facts["shape"], np.dtype(facts["typestr"]),
                            Pointer(UnownedMemory(at, 0, x, fake.device_of(at))))
            if not isinstance(x, ndarray):
                return array(np.asarray(x, dtype))
            moved = x if x.data_pointer.device_id == fake.device else array(x)
            return moved if dtype is None else moved.astype(dtype)

        class Module(types.SimpleNamespace):
            """CuPy's module: what is not here is NumPy's function on the current device."""

            def __getattr__(self, name):
                found = getattr(np, name) if not name.startswith("__") else None
                if not callable(found):
                    raise AttributeError(name)
                return found if isinstance(found, type) else Function(found)

        class Function:
            def __init__(self, function):
                self.function = function
                if function in (np.add, np.multiply):    # the others' are not implemented in CuPy
                    self.reduce = Function(function.reduce)

            def __call__(self, *args, **options):
                return computed(self.function(*here(args), **here(options)))

        class Device:
            def __init__(self, number=None):
                self.id = fake.device if number is None else number
                self.compute_capability = fake.capability

            def use(self):
                fake.device = self.id

            def __enter__(self):
                self.before, fake.device = fake.device, self.id

            def __exit__(self, *error):
                fake.device = self.before

        class Stream:
            def __init__(self, non_blocking=False):
                fake.streams += 1
                self.ptr = 1000 + fake.streams

            def begin_capture(self):
                fake.capturing[self.ptr] = []

            def end_capture(self):
                work = fake.capturing.pop(self.ptr)
                fake.log.append(("captured", len(work)))

                def launch():
                    fake.log.append(("graph",))
                    for step in work:
                        step()

                return types.SimpleNamespace(launch=launch)

        class ExternalStream:
            def __init__(self, ptr):
                self.ptr = ptr

            def __enter__(self):
                fake.streams_in_use.append(self.ptr)

            def __exit__(self, *error):
                fake.streams_in_use.pop()

        class Event:
            def record(self):
                fake.log.append(("event",))

            def synchronize(self):
                fake.log.append(("wait",))

        pool = types.SimpleNamespace(
            used_bytes=lambda: fake.used[fake.device], total_bytes=lambda: fake.used[fake.device], free_bytes=lambda: 0,
            free_all_blocks=lambda: fake.log.append(("release",)))
        cuda = types.SimpleNamespace(
            runtime=self.runtime(), driver=self.driver(), cublas=self.cublas(), Device=Device, Stream=Stream,
            ExternalStream=ExternalStream, Event=Event,
            MemoryPointer=Pointer, UnownedMemory=UnownedMemory, get_elapsed_time=lambda a, b: 0.5,
            alloc=lambda size: Pointer(Allocation(size)),
            get_current_stream=lambda: fake.current_stream, alloc_pinned_memory=lambda size: _Pinned(size),
            memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError))
        return Module(__name__="cupy", __version__="14.fake", ndarray=ndarray, empty=empty, array=array, cuda=cuda,
                      asarray=asarray, get_default_memory_pool=lambda: pool, ascontiguousarray=array)


class _Pinned(bytearray):
    """Memory of the host by its address."""

    @property
    def ptr(self):
        return ctypes.addressof(ctypes.c_char.from_buffer(self))


def faked(monkeypatch, fake, **facts):
    """The fake in CuPy's place, loading what `compile_sources` is asked for; `facts` are those of compiled kernels."""
    def compile_sources(requests):
        made = []
        for source, target, divisible in requests:
            code = hashlib.sha256(f"{source.text} {divisible}".encode()).digest()
            fake.sources[code] = source
            made.append(triton_compiler.Compiled(code, "", source.entry, 32, 0, **{"shared": 0, "warps": 4, **facts}))
        fake.compiled.append([r.divisible for r in requests])
        return made

    fake.compiled = []
    monkeypatch.setattr(cuda, "compile_sources", compile_sources)
    monkeypatch.setattr(cuda, "_cupy", lambda: fake.module)
    return fake


def faked_for_tensors(monkeypatch, fake):
    """The same, with all that tensors ask of devices: those of the fake are the ones that there are."""
    monkeypatch.setitem(sys.modules, "cupy", fake.module)
    monkeypatch.setattr(configuration, "simulate_gpu", False)
    monkeypatch.setattr(devices, "_found", {})
    monkeypatch.setattr(named_devices, "_used", {})
    monkeypatch.setattr(random, "_generators", {"cpu": random.default_generator})
    return faked(monkeypatch, fake)
