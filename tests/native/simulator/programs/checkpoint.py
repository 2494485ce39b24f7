"""A process that another one suspends, checkpoints and restores. Prints what that one saw as JSON.

With a word, it is the suspended process: it takes memory, says so, and after each line that it reads it says what it
reads in that memory.
"""

import ctypes
import json
import os
import select
import subprocess
import sys
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p

cuda = ctypes.CDLL("libcuda.so.1")
MIB = 1 << 20
RUNNING, LOCKED, CHECKPOINTED = 0, 1, 2


def ok(status: int) -> None:
    assert status == 0, status


def start() -> None:
    context = c_void_p()
    ok(cuda.cuInit(0))
    ok(cuda.cuDevicePrimaryCtxRetain(byref(context), 0))
    ok(cuda.cuCtxSetCurrent(context))


def taken(mib: int) -> c_uint64:
    pointer = c_uint64()
    ok(cuda.cuMemAlloc_v2(byref(pointer), c_size_t(mib * MIB)))
    return pointer


def target() -> None:
    start()
    pointer, value = taken(1024), c_uint()
    ok(cuda.cuMemsetD32_v2(pointer, 7, c_size_t(1)))
    print("ready", flush=True)
    for _ in sys.stdin:
        ok(cuda.cuMemcpyDtoH_v2(byref(value), pointer, c_size_t(4)))
        print(value.value, flush=True)


def free_mib() -> int:
    free = c_size_t()
    ok(cuda.cuMemGetInfo_v2(byref(free), None))
    return free.value // MIB


def state(pid: int) -> int:
    found = c_int(-1)
    ok(cuda.cuCheckpointProcessGetState(pid, byref(found)))
    return found.value


def main() -> dict[str, object]:
    start()
    words = [sys.executable, __file__, "target"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == "ready\n"
        pid, before, states = other.pid, free_mib(), [state(other.pid)]
        too_early = [cuda.cuCheckpointProcessCheckpoint(pid, None), cuda.cuCheckpointProcessUnlock(pid, None)]
        ok(cuda.cuCheckpointProcessLock(pid, None))
        states.append(state(pid))
        again = cuda.cuCheckpointProcessLock(pid, None)
        other.stdin.write("\n")
        other.stdin.flush()
        ok(cuda.cuCheckpointProcessCheckpoint(pid, None))
        states.append(state(pid))
        given_back = free_mib() - before
        mine = taken(free_mib() - 512)
        no_room = cuda.cuCheckpointProcessRestore(pid, None)
        ok(cuda.cuMemFree_v2(mine))
        ok(cuda.cuCheckpointProcessRestore(pid, None))
        states.append(state(pid))
        answered_while_locked = bool(select.select([other.stdout], [], [], 0)[0])
        ok(cuda.cuCheckpointProcessUnlock(pid, None))
        states.append(state(pid))
        value, after = int(other.stdout.readline()), free_mib()
        other.kill()
    nobody = cuda.cuCheckpointProcessLock(os.getpid() + 1_000_000, None)
    return {
        "states": states,
        "refused": [*too_early, again, no_room, nobody],
        "given back": given_back,
        "answered while locked": answered_while_locked,
        "value": value,
        "restored": before - after,
    }


if len(sys.argv) > 1:
    target()
else:
    print(json.dumps(main()))
