"""Rules of graphs: conditions, graphs that own memory, and what the driver tells of nodes. Prints JSON."""

import ctypes
import json
from collections.abc import Callable
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

cuda = ctypes.CDLL("libcuda.so.1")
CONDITIONAL, GRAPH, ALLOC = 13, 4, 10
IF, WHILE, SWITCH = 0, 1, 2


def ok(status: int) -> None:
    assert status == 0, status


def new_graph() -> c_void_p:
    made = c_void_p()
    ok(cuda.cuGraphCreate(byref(made), 0))
    return made


def write(graph: c_void_p, place: int, value: int) -> None:
    """Add a node that writes the value."""
    node, wanted = c_void_p(), (c_uint64 * 5)(place, 0, value | 4 << 32, 1, 1)
    ok(cuda.cuGraphAddMemsetNode(byref(node), graph, None, c_size_t(0), wanted, context))


def launch(graph: c_void_p) -> None:
    ready = c_void_p()
    ok(cuda.cuGraphInstantiateWithFlags(byref(ready), graph, c_uint64(0)))
    ok(cuda.cuGraphLaunch(ready, None))
    ok(cuda.cuStreamSynchronize(None))
    ok(cuda.cuGraphExecDestroy(ready))


def add_conditional(graph: c_void_p, handle: int, kind: int, size: int) -> tuple[int, list[c_void_p]]:
    node, parameters = c_void_p(), (c_uint64 * 32)()
    parameters[0], parameters[2], parameters[3] = CONDITIONAL, handle, kind | size << 32
    status = cuda.cuGraphAddNode_v2(byref(node), graph, None, None, c_size_t(0), parameters)
    bodies = ctypes.cast(c_void_p(parameters[4]), ctypes.POINTER(c_void_p))
    return int(status), [c_void_p(bodies[i]) for i in range(size)] if status == 0 else []


def condition(graph: c_void_p, value: int, flags: int = 1) -> int:
    handle = c_uint64()
    ok(cuda.cuGraphConditionalHandleCreate(byref(handle), graph, None, value, flags))
    return handle.value


def a_condition_chooses_a_graph() -> dict[str, list[int]]:
    """By kind, number of graphs and default value: which one ran, counted from 1, in the graph and in its clone."""
    seen = {}
    place, number = c_uint64(), c_uint()
    ok(cuda.cuMemAlloc_v2(byref(place), c_size_t(4)))
    for name, kind, size, value in [
        ("if, true", IF, 1, 1),
        ("if, false", IF, 1, 0),
        ("else", IF, 2, 0),
        ("while, true", WHILE, 1, 1),
        ("while, false", WHILE, 1, 0),
        ("switch, 2", SWITCH, 3, 2),
        ("switch, beyond", SWITCH, 3, 3),
    ]:
        graph, clone = new_graph(), c_void_p()
        status, bodies = add_conditional(graph, condition(graph, value), kind, size)
        ok(status)
        for index, body in enumerate(bodies):
            write(body, place.value, index + 1)
        ok(cuda.cuGraphClone(byref(clone), graph))
        ran = []
        for each in (graph, clone):
            ok(cuda.cuMemsetD32_v2(place, 0, c_size_t(1)))
            launch(each)
            ok(cuda.cuMemcpyDtoH_v2(byref(number), place, c_size_t(4)))
            ran.append(number.value)
        seen[name] = ran
    return seen


def wrong_conditions() -> list[int]:
    """A handle of another graph, no graph, two graphs of a loop; a graph of a node can't be destroyed."""
    graph, other = new_graph(), new_graph()
    handle = condition(graph, 1)
    seen = [
        add_conditional(other, handle, IF, 1)[0],
        add_conditional(graph, handle, IF, 0)[0],
        add_conditional(graph, handle, WHILE, 2)[0],
    ]
    _, bodies = add_conditional(graph, handle, IF, 1)
    return [*seen, cuda.cuGraphDestroy(bodies[0])]


def add_memory(graph: c_void_p) -> c_void_p:
    node, wanted = c_void_p(), (c_uint64 * 15)()
    wanted[0], wanted[1], wanted[13] = 1, 1, 2 << 20
    ok(cuda.cuGraphAddMemAllocNode(byref(node), graph, None, c_size_t(0), wanted))
    return node


def graphs_that_own_memory() -> list[int]:
    """Clone, a child by copy, a second executable graph, a node removed; a child by moving, and what it is then."""
    graph, parent, node, ready, second = new_graph(), new_graph(), c_void_p(), c_void_p(), c_void_p()
    memory = add_memory(graph)
    ok(cuda.cuGraphInstantiateWithFlags(byref(ready), graph, c_uint64(0)))
    seen = [
        cuda.cuGraphClone(byref(c_void_p()), graph),
        cuda.cuGraphAddChildGraphNode(byref(node), parent, None, c_size_t(0), graph),
        cuda.cuGraphInstantiateWithFlags(byref(second), graph, c_uint64(0)),
        cuda.cuGraphDestroyNode(memory),
    ]
    ok(cuda.cuGraphExecDestroy(ready))
    parameters = (c_uint64 * 32)()
    parameters[0], parameters[2], parameters[3] = GRAPH, graph.value or 0, 1
    seen.append(cuda.cuGraphAddNode_v2(byref(node), parent, None, None, c_size_t(0), parameters))
    seen.append(cuda.cuGraphDestroy(graph))
    within = c_void_p()
    ok(cuda.cuGraphChildGraphNodeGetGraph(node, byref(within)))
    seen.append(int(within.value == graph.value))
    seen.append(cuda.cuGraphInstantiateWithFlags(byref(second), parent, c_uint64(0)))
    ok(cuda.cuGraphExecDestroy(second))
    ok(cuda.cuGraphDestroy(parent))
    return seen


def numbers_and_parameters_of_nodes() -> list[object]:
    """Whether graphs have different numbers; the local ones of two nodes; the graph of a node; its parameters."""
    graph, other, nodes, holder = new_graph(), new_graph(), [c_void_p(), c_void_p()], c_void_p()
    numbers, local, parameters = [c_uint(), c_uint()], [], (c_uint64 * 32)()
    for each, number in zip((graph, other), numbers, strict=True):
        ok(cuda.cuGraphGetId(each, byref(number)))
    for node in nodes:
        ok(cuda.cuGraphAddEmptyNode(byref(node), graph, None, c_size_t(0)))
        identity = c_uint()
        ok(cuda.cuGraphNodeGetLocalId(node, byref(identity)))
        local.append(identity.value)
    ok(cuda.cuGraphNodeGetContainingGraph(nodes[0], byref(holder)))
    memory = add_memory(graph)
    ok(cuda.cuGraphNodeGetParams(memory, parameters))
    return [numbers[0].value != numbers[1].value, local, holder.value == graph.value, parameters[0], parameters[15]]


def a_capture_tells_its_edges() -> list[object]:
    """The status, the number of dependencies, and the first one's edge as a number: 0 is a plain one."""
    stream, graph, count = c_void_p(), c_void_p(), c_size_t()
    nodes, edges = c_void_p(), ctypes.POINTER(c_uint64)()
    called = ctypes.CFUNCTYPE(None, c_void_p)(lambda _: None)
    ok(cuda.cuStreamCreate(byref(stream), 1))
    ok(cuda.cuStreamBeginCapture_v2(stream, 2))
    ok(cuda.cuLaunchHostFunc(stream, called, None))
    status = cuda.cuStreamGetCaptureInfo_v3(
        stream, byref(c_int()), None, byref(graph), byref(nodes), byref(edges), byref(count)
    )
    seen = [status, count.value, edges[0] if edges else None]
    ok(cuda.cuStreamEndCapture(stream, byref(graph)))
    return seen


def nodes_of(graph: c_void_p) -> list[int | None]:
    count = c_size_t()
    ok(cuda.cuGraphGetNodes(graph, None, byref(count)))
    found = (c_void_p * count.value)()
    ok(cuda.cuGraphGetNodes(graph, found, byref(count)))
    return list(found)


def captures_into_graphs() -> dict[str, object]:
    """What a capture adds to a graph that there is, after which node; and what is refused."""
    place, value, stream, ready, needed = c_uint64(), c_uint(), c_void_p(), c_void_p(), c_void_p()
    ok(cuda.cuMemAlloc_v2(byref(place), c_size_t(4)))
    ok(cuda.cuStreamCreate(byref(stream), 1))
    graph, other, captured = new_graph(), new_graph(), c_void_p()
    write(graph, place.value, 3)
    write(other, place.value, 9)
    first, stranger = c_void_p(nodes_of(graph)[0]), c_void_p(nodes_of(other)[0])
    one, relaxed = c_size_t(1), 2
    seen: dict[str, object] = {
        "after another graph's": cuda.cuStreamBeginCaptureToGraph(stream, graph, byref(stranger), None, one, relaxed)
    }
    ok(cuda.cuStreamBeginCaptureToGraph(stream, graph, byref(first), None, one, relaxed))
    ok(cuda.cuMemsetD32Async(place, 4, one, stream))
    seen["made executable"] = cuda.cuGraphInstantiateWithFlags(byref(ready), graph, c_uint64(0))
    ok(cuda.cuStreamEndCapture(stream, byref(captured)))
    added = c_void_p(nodes_of(graph)[1])
    ok(cuda.cuGraphNodeGetDependencies(added, byref(needed), byref(one)))
    seen["graph and dependency"] = [captured.value == graph.value, needed.value == first.value]
    launch(graph)
    ok(cuda.cuMemcpyDtoH_v2(byref(value), place, c_size_t(4)))
    seen["written"] = value.value
    ok(cuda.cuStreamBeginCaptureToGraph(stream, graph, None, None, c_size_t(0), relaxed))
    ok(cuda.cuStreamDestroy_v2(stream))
    seen["nodes after the stream"] = len(nodes_of(graph))
    return seen


Recaptured = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, ctypes.POINTER(c_uint64), ctypes.POINTER(c_uint64), c_int)
RELAXED, MIB = 2, 1 << 20


def captured(stream: c_void_p, work: Callable[[], int]) -> c_void_p:
    graph = c_void_p()
    ok(cuda.cuStreamBeginCapture_v2(stream, RELAXED))
    ok(work())
    ok(cuda.cuStreamEndCapture(stream, byref(graph)))
    return graph


def recaptured(stream: c_void_p, graph: c_void_p, heard: object, *work: Callable[[], int]) -> list[int]:
    """What each piece of work, and the end, returned."""
    found = c_void_p()
    ok(cuda.cuStreamBeginRecaptureToGraph(stream, RELAXED, graph, heard, c_void_p(7)))
    return [*(each() for each in work), cuda.cuStreamEndCapture(stream, byref(found))]


def recaptures() -> dict[str, object]:
    """Two memsets, captured again: with another value, too few, of another kind, refused by the program; and memory."""
    place, value, stream = c_uint64(), c_uint(), c_void_p()
    ok(cuda.cuMemAlloc_v2(byref(place), c_size_t(8)))
    ok(cuda.cuStreamCreate(byref(stream), 1))
    told: list[list[int | bool | None]] = []
    answer = [0]

    def hear(data: int, node: int, before: Any, after: Any, status: int) -> int:
        told.append([data, node == nodes_of(graph)[1], before[4] & 0xFFFFFFFF, after[4] & 0xFFFFFFFF, status])
        return answer[0]

    heard = Recaptured(hear)

    def sets(number: int, at: int = 0) -> Callable[[], int]:
        return lambda: int(cuda.cuMemsetD32Async(c_uint64(place.value + at), number, c_size_t(1), stream))

    def both() -> int:
        return sets(1)() or sets(2, 4)()

    graph = captured(stream, both)
    ended, user = [], c_void_p()
    end = ctypes.CFUNCTYPE(None, c_void_p)(lambda _: ended.append(True))
    ok(cuda.cuUserObjectCreate(byref(user), None, end, 1, 1))
    ok(cuda.cuGraphRetainUserObject(graph, user, 1, 1))
    seen: dict[str, object] = {"another value": recaptured(stream, graph, heard, sets(1), sets(5, 4))}
    seen["told"], seen["user objects"] = list(told), len(ended)
    launch(graph)
    ok(cuda.cuMemcpyDtoH_v2(byref(value), c_uint64(place.value + 4), c_size_t(4)))
    seen["written"], seen["nodes"] = value.value, len(nodes_of(graph))
    seen["nobody listens"] = recaptured(stream, graph, None, sets(3), sets(4, 4))
    answer[0] = 1
    seen["the program refuses"] = recaptured(stream, graph, heard, sets(3), sets(9, 4))
    seen["too few"] = recaptured(stream, captured(stream, both), None, sets(1))
    seen["too many"] = recaptured(stream, captured(stream, both), None, sets(1), sets(2, 4), sets(3))
    callback = ctypes.CFUNCTYPE(None, c_void_p)(lambda _: None)
    seen["another kind"] = recaptured(
        stream, captured(stream, both), None, lambda: int(cuda.cuLaunchHostFunc(stream, callback, None))
    )

    pointer = c_uint64()

    def allocates(size: int) -> Callable[[], int]:
        return lambda: int(cuda.cuMemAllocAsync(byref(pointer), c_size_t(size), stream))

    own = captured(stream, allocates(MIB))
    first = pointer.value
    seen["the same memory"] = [recaptured(stream, own, None, allocates(MIB)), pointer.value == first]
    seen["other memory"] = recaptured(stream, own, None, allocates(2 * MIB))
    return seen


def a_stream_is_done_when_its_event_is() -> list[int]:
    """What a query of an event returns after its idle stream was waited for, in many turns."""
    stream, event, seen = c_void_p(), c_void_p(), set()
    ok(cuda.cuStreamCreate(byref(stream), 1))
    ok(cuda.cuEventCreate(byref(event), 0))
    for _ in range(200):
        ok(cuda.cuEventRecord(event, stream))
        ok(cuda.cuStreamSynchronize(stream))
        seen.add(cuda.cuEventQuery(event))
    return sorted(seen)


def core_dump_settings() -> list[object]:
    """A flag and a file name, written and read back; a setting that doesn't exist."""
    flag, size, name = ctypes.c_bool(True), c_size_t(1), ctypes.create_string_buffer(64)
    ok(cuda.cuCoredumpSetAttributeGlobal(1, byref(flag), byref(size)))
    flag.value = False
    ok(cuda.cuCoredumpGetAttributeGlobal(1, byref(flag), byref(size)))
    length = c_size_t(8)
    ok(cuda.cuCoredumpSetAttributeGlobal(5, b"dump.%p\0", byref(length)))
    length.value = len(name)
    ok(cuda.cuCoredumpGetAttributeGlobal(5, name, byref(length)))
    return [flag.value, name.value.decode(), cuda.cuCoredumpGetAttributeGlobal(99, name, byref(length))]


ok(cuda.cuInit(c_uint(0)))
context = c_void_p()
ok(cuda.cuDevicePrimaryCtxRetain(byref(context), 0))
ok(cuda.cuCtxSetCurrent(context))
RULES = [
    a_condition_chooses_a_graph,
    wrong_conditions,
    graphs_that_own_memory,
    numbers_and_parameters_of_nodes,
    a_capture_tells_its_edges,
    captures_into_graphs,
    recaptures,
    a_stream_is_done_when_its_event_is,
    core_dump_settings,
]
print(json.dumps({rule.__name__: rule() for rule in RULES}))
