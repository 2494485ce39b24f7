"""Green contexts, one function for each of their rules. Prints what each one saw as JSON."""

import ctypes
import json
from ctypes import byref, c_char, c_float, c_int, c_size_t, c_uint, c_uint64, c_ulonglong, c_void_p

cuda = ctypes.CDLL("libcuda.so.1")
SM, QUEUES = 1, 1000
NON_BLOCKING = 1
MS = 1_000_000
PTX = b""".version 8.0
.target sm_80
.address_size 64
.visible .entry unigpu_spin(.param .u64 nanoseconds) { ret; }
.visible .entry unigpu_work(.param .u64 nanoseconds) { ret; }
"""


class Resource(ctypes.Structure):
    _fields_ = [
        ("type", c_uint),
        ("internal", c_char * 92),
        ("count", c_uint),
        ("least", c_uint),
        ("alignment", c_uint),
        ("rest", c_uint * 7),
        ("next", c_void_p),
    ]


class Group(ctypes.Structure):
    _fields_ = [
        ("count", c_uint),
        ("together", c_uint),
        ("preferred", c_uint),
        ("flags", c_uint),
        ("rest", c_uint * 12),
    ]


assert ctypes.sizeof(Resource) == 144
assert ctypes.sizeof(Group) == 64


def ok(status: int) -> None:
    assert status == 0, status


def device_resource(kind: int = SM) -> Resource:
    found = Resource()
    ok(cuda.cuDeviceGetDevResource(0, byref(found), kind))
    return found


def split(count: int, groups: int) -> tuple[list[Resource], Resource]:
    made, rest, number = (Resource * groups)(), Resource(), c_uint(groups)
    ok(cuda.cuDevSmResourceSplitByCount(made, byref(number), byref(device_resource()), byref(rest), 0, count))
    return list(made)[: number.value], rest


def described(*resources: Resource) -> tuple[int, c_void_p]:
    made = c_void_p()
    return cuda.cuDevResourceGenerateDesc(byref(made), (Resource * len(resources))(*resources), len(resources)), made


def green(*resources: Resource) -> c_void_p:
    status, description = described(*resources)
    ok(status)
    made = c_void_p()
    ok(cuda.cuGreenCtxCreate(byref(made), description, 0, 1))
    return made


def stream(context: c_void_p) -> c_void_p:
    made = c_void_p()
    ok(cuda.cuGreenCtxStreamCreate(byref(made), context, NON_BLOCKING, 0))
    return made


def event() -> c_void_p:
    made = c_void_p()
    ok(cuda.cuEventCreate(byref(made), 0))
    return made


def recorded(where: c_void_p) -> c_void_p:
    made = event()
    ok(cuda.cuEventRecord(made, where))
    return made


def elapsed_ms(start: c_void_p, end: c_void_p) -> float:
    ok(cuda.cuEventSynchronize(end))
    found = c_float()
    ok(cuda.cuEventElapsedTime(byref(found), start, end))
    return found.value


def launch(name: str, nanoseconds: int, where: c_void_p, blocks: int = 1) -> None:
    value = c_uint64(nanoseconds)
    parameters = (c_void_p * 1)(ctypes.addressof(value))
    ok(cuda.cuLaunchKernel(kernels[name], blocks, 1, 1, 1024, 1, 1, 0, where, parameters, None))


def used_mib() -> int:
    free, total = c_size_t(), c_size_t()
    ok(cuda.cuMemGetInfo_v2(byref(free), byref(total)))
    return (total.value - free.value) >> 20


def parts_of_a_gpu() -> dict[str, object]:
    """Multiprocessors of the GPU, the least and the step; of parts; and what can't be split or described together."""
    whole = device_resource()
    groups, rest = split(20, 3)
    again = cuda.cuDevSmResourceSplitByCount(None, byref(c_uint(1)), byref(groups[0]), None, 0, 4)
    other, _ = split(20, 1)
    empty = Resource()
    discovered = (Group * 2)(Group(count=40), Group(count=0, flags=1))
    ok(cuda.cuDevSmResourceSplit(None, 2, byref(whole), None, 0, discovered))
    odd = cuda.cuDevSmResourceSplit((Resource * 1)(), 1, byref(whole), None, 0, (Group * 1)(Group(count=21)))
    too_many = cuda.cuDevSmResourceSplit((Resource * 2)(), 2, byref(whole), None, 0, (Group * 2)(Group(60), Group(60)))
    return {
        "whole": [whole.count, whole.least, whole.alignment],
        "groups": [each.count for each in groups] + [rest.count],
        "splits": [again, odd, too_many, [each.count for each in discovered]],
        "descriptions": [
            described(*groups)[0],
            described(groups[0], other[0])[0],
            described(empty)[0],
            described(groups[0], device_resource(QUEUES))[0],
        ],
    }


def they_hold_the_primary_context() -> list[object]:
    """Active before, memory of one and of two, active with one and without; a context's resource."""
    states, flags, active = [], c_uint(), c_int()

    def note() -> None:
        ok(cuda.cuDevicePrimaryCtxGetState(0, byref(flags), byref(active)))
        states.append(active.value)

    note()
    groups, _ = split(20, 2)
    first = green(groups[0])
    name, found = c_void_p(), Resource()
    ok(cuda.cuCtxFromGreenCtx(byref(name), first))
    ok(cuda.cuCtxPushCurrent_v2(name))
    one = used_mib()
    second = green(groups[1])
    two = used_mib()
    ok(cuda.cuCtxGetDevResource(name, byref(found), SM))
    ok(cuda.cuCtxPopCurrent_v2(None))
    note()
    ok(cuda.cuGreenCtxDestroy(first))
    note()
    ok(cuda.cuGreenCtxDestroy(second))
    note()
    return [states, two - one, found.count]


def kernels_stay_in_their_part() -> dict[str, list[int]]:
    """When two kernels end, in units of one: on parts of their own, on one part; waves on the whole and on a half."""
    groups, _ = split(54, 2)
    contexts = [green(each) for each in groups]
    apart = [stream(each) for each in contexts]
    together = [stream(contexts[0]) for _ in range(2)]
    found = {}
    for name, streams in (("apart", apart), ("together", together)):
        start = recorded(streams[0])
        for each in streams:
            launch("unigpu_spin", 100 * MS, each)
        found[name] = [int(elapsed_ms(start, recorded(each)) / 100) for each in streams]
    waves = []
    for each in (default_stream, apart[0]):
        start = recorded(each)
        launch("unigpu_work", 100 * MS, each, blocks=108 * 2)
        waves.append(int(elapsed_ms(start, recorded(each)) / 100))
    for context in contexts:
        ok(cuda.cuGreenCtxDestroy(context))
    return found | {"waves": waves}


def current_green_context() -> list[object]:
    """Who is current, whose a stream made now is, by both look-ups; memory outlives it; per-thread streams."""
    made = green(split(20, 1)[0][0])
    name, now, owner, pointer, own = c_void_p(), c_void_p(), c_void_p(), c_ulonglong(), c_void_p()
    ok(cuda.cuCtxFromGreenCtx(byref(name), made))
    ok(cuda.cuCtxPushCurrent_v2(name))
    ok(cuda.cuCtxGetCurrent(byref(now)))
    ok(cuda.cuStreamCreate(byref(own), NON_BLOCKING))
    ok(cuda.cuStreamGetGreenCtx(own, byref(owner)))
    of_stream, green_of_stream = c_void_p(), c_void_p()
    ok(cuda.cuStreamGetCtx_v2(own, byref(of_stream), byref(green_of_stream)))
    ok(cuda.cuMemAlloc_v2(byref(pointer), 1 << 20))
    per_thread = cuda.cuStreamQuery(c_void_p(2))
    ok(cuda.cuCtxPopCurrent_v2(None))
    ok(cuda.cuStreamDestroy_v2(own))
    ok(cuda.cuGreenCtxDestroy(made))
    freed = cuda.cuMemFree_v2(pointer)
    same = [now.value == name.value, owner.value == made.value, green_of_stream.value == made.value]
    return [*same, of_stream.value == primary.value, freed, per_thread]


def after_the_end() -> list[int]:
    """A stream of it and its capture, the stream's end, calls in it while it is current, its second end."""
    made = green(split(20, 1)[0][0])
    left, capturing, name, graph = stream(made), stream(made), c_void_p(), c_void_p()
    ok(cuda.cuStreamBeginCapture_v2(capturing, 2))
    ok(cuda.cuCtxFromGreenCtx(byref(name), made))
    ok(cuda.cuCtxPushCurrent_v2(name))
    ok(cuda.cuGreenCtxDestroy(made))
    inside = cuda.cuCtxSynchronize()
    ok(cuda.cuCtxPopCurrent_v2(None))
    answers = [cuda.cuStreamQuery(left), cuda.cuStreamEndCapture(capturing, byref(graph))]
    return [*answers, cuda.cuStreamDestroy_v2(left), inside, cuda.cuGreenCtxDestroy(made)]


def events_of_all_its_work() -> list[object]:
    """An event of a green context is after both streams' work; new work waits for one; a capture forbids it; flags."""
    groups, _ = split(54, 2)
    made, other = (green(each) for each in groups)
    streams = [stream(made) for _ in range(2)]
    start, all_done = recorded(streams[0]), event()
    launch("unigpu_spin", 100 * MS, streams[0])
    launch("unigpu_spin", 100 * MS, streams[1])
    ok(cuda.cuGreenCtxRecordEvent(made, all_done))
    ok(cuda.cuGreenCtxWaitEvent(other, all_done))
    after = recorded(stream(other))
    ends = [int(elapsed_ms(start, all_done) / 100), int(elapsed_ms(start, after) / 100)]
    graph = c_void_p()
    ok(cuda.cuStreamBeginCapture_v2(streams[0], 2))
    refused = cuda.cuGreenCtxRecordEvent(made, all_done)
    ended = cuda.cuStreamEndCapture(streams[0], byref(graph))
    blocking = cuda.cuGreenCtxStreamCreate(byref(c_void_p()), made, 0, 0)
    for each in (made, other):
        ok(cuda.cuGreenCtxDestroy(each))
    return [ends, refused, ended, blocking]


ok(cuda.cuInit(0))
seen: dict[str, object] = {"they_hold_the_primary_context": they_hold_the_primary_context()}
primary, module, default_stream = c_void_p(), c_void_p(), c_void_p()
ok(cuda.cuDevicePrimaryCtxRetain(byref(primary), 0))
ok(cuda.cuCtxSetCurrent(primary))
ok(cuda.cuModuleLoadData(byref(module), PTX))
kernels = {}
for kernel in ("unigpu_spin", "unigpu_work"):
    kernels[kernel] = c_void_p()
    ok(cuda.cuModuleGetFunction(byref(kernels[kernel]), module, kernel.encode()))
for rule in (
    parts_of_a_gpu,
    kernels_stay_in_their_part,
    current_green_context,
    after_the_end,
    events_of_all_its_work,
):
    seen[rule.__name__] = rule()
print(json.dumps(seen))
