"""What programs of rules share: the driver with a current context, objects of it, and how they report."""

import ctypes
import json
from collections.abc import Callable
from ctypes import byref, c_void_p

cuda = ctypes.CDLL("libcuda.so.1")
context = c_void_p()
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
"""Modes of captures."""


def ok(status: int) -> None:
    assert status == 0, status


def stream(flags: int = 1) -> c_void_p:
    made = c_void_p()
    ok(cuda.cuStreamCreate(byref(made), flags))
    return made


def event() -> c_void_p:
    made = c_void_p()
    ok(cuda.cuEventCreate(byref(made), 0))
    return made


def report(*rules: Callable[[], object]) -> None:
    """Print what each rule saw, by its name, as JSON."""
    print(json.dumps({rule.__name__: rule() for rule in rules}))


ok(cuda.cuInit(0))
ok(cuda.cuDevicePrimaryCtxRetain(byref(context), 0))
ok(cuda.cuCtxSetCurrent(context))
