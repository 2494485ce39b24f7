"""An event that two processes share. Prints what both saw as JSON.

With a word, it is the other process: the event's handle, in hexadecimal. It says what it saw line by line, and reads a
line before it goes on.
"""

import ctypes
import json
import subprocess
import sys
from ctypes import byref, c_uint, c_uint64, c_void_p

cuda = ctypes.CDLL("libcuda.so.1")
NON_BLOCKING, NO_TIMING, INTERPROCESS = 1, 2, 4
MAPPED, AT_LEAST = 2, 0


def ok(status: int) -> None:
    assert status == 0, status


class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * 64)]


def stream() -> c_void_p:
    made = c_void_p()
    ok(cuda.cuStreamCreate(byref(made), NON_BLOCKING))
    return made


def event(flags: int) -> c_void_p:
    made = c_void_p()
    ok(cuda.cuEventCreate(byref(made), flags))
    return made


def gate() -> ctypes.Array[c_uint]:
    """A word that streams can wait for."""
    pointer = c_void_p()
    ok(cuda.cuMemHostAlloc(byref(pointer), ctypes.c_size_t(4), MAPPED))
    return (c_uint * 1).from_address(pointer.value or 0)


def close_until(word: "ctypes.Array[c_uint]", where: c_void_p) -> None:
    """What follows in the stream waits until the word is set."""
    ok(cuda.cuStreamWaitValue32_v2(where, c_uint64(ctypes.addressof(word)), 1, AT_LEAST))


def owner() -> dict[str, object]:
    shared, plain, own, word, handle = event(NO_TIMING | INTERPROCESS), event(NO_TIMING), stream(), gate(), Handle()
    ok(cuda.cuIpcGetEventHandle(byref(handle), shared))
    opened = c_void_p()
    refused = [
        cuda.cuIpcGetEventHandle(byref(Handle()), plain),
        cuda.cuEventCreate(byref(c_void_p()), INTERPROCESS),
        cuda.cuIpcOpenEventHandle(byref(opened), handle),
        cuda.cuIpcOpenEventHandle(byref(opened), Handle()),
    ]
    close_until(word, own)
    ok(cuda.cuEventRecord(shared, own))
    words = [sys.executable, __file__, bytes(handle).hex()]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin
        assert other.stdout
        while_closed = json.loads(other.stdout.readline())
        word[0] = 1
        ok(cuda.cuStreamSynchronize(own))
        other.stdin.write("\n")
        other.stdin.flush()
        when_open = json.loads(other.stdout.readline())
        recorded_there = cuda.cuEventQuery(shared)
        other.kill()
        other.wait()
        after_its_death = cuda.cuEventSynchronize(shared)
    return {
        "refused": refused,
        "while closed": while_closed,
        "when open": when_open,
        "recorded there": recorded_there,
        "after its death": after_its_death,
    }


def other(name: bytes) -> None:
    shared, own, mine, word = c_void_p(), stream(), event(NO_TIMING), gate()
    ok(cuda.cuIpcOpenEventHandle(byref(shared), Handle.from_buffer_copy(name)))
    ok(cuda.cuStreamWaitEvent(own, shared, 0))
    ok(cuda.cuEventRecord(mine, own))
    print(json.dumps([cuda.cuEventQuery(shared), cuda.cuEventQuery(mine)]), flush=True)
    sys.stdin.readline()
    ok(cuda.cuEventSynchronize(mine))
    seen = cuda.cuEventQuery(shared)
    close_until(word, own)
    ok(cuda.cuEventRecord(shared, own))
    print(json.dumps([seen, cuda.cuEventQuery(shared)]), flush=True)
    sys.stdin.readline()


context = c_void_p()
ok(cuda.cuInit(0))
ok(cuda.cuDevicePrimaryCtxRetain(byref(context), 0))
ok(cuda.cuCtxSetCurrent(context))
if len(sys.argv) > 1:
    other(bytes.fromhex(sys.argv[1]))
else:
    print(json.dumps(owner()))
