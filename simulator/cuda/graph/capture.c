/* Stream captures: work is recorded into a graph instead of being run.
 *
 * A capture begins in one stream, its origin. Other streams join it by waiting for an event that was recorded in it. For
 * each member stream the capture keeps a tail: the nodes that the stream's next work depends on. Recording an event copies
 * the tail into the event; waiting for that event adds those nodes to the waiting stream's tail. The capture can end in its
 * origin only, and only when every other member's tail leads back there. */
#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/graph/graph_copy.h"
#include "simulator/cuda/graph/graph_exec.h"
#include "simulator/cuda/graph/recapture.h"
#include "simulator/cuda/graph/reuse.h"
#include "simulator/cuda/stream/event.h"
#include "simulator/cuda/stream/stream.h"

typedef struct capture {
    recorder base; /* first */
    CUgraph graph;
    bool given_graph; /* the caller's, which outlives the capture */
    recapture again;  /* of a graph's nodes, instead of making new ones */
    CUstream origin;
    CUstream members[64]; /* streams in the capture, with the nodes that their next work waits for */
    struct {
        CUgraphNode *nodes;
        size_t count;
    } tails[64];
    int member_count;
    CUgraphEdgeData *edges; /* as many plain ones as were asked for at most */
} capture;

static capture *capture_of(CUstream stream) {
    return (capture *)stream->capture;
}

static int member(const capture *in, CUstream stream) {
    for (int i = 0; i < in->member_count; i++) {
        if (in->members[i] == stream) {
            return i;
        }
    }
    return -1;
}

/* A copy of the nodes with room for so many more; NULL: out of memory. */
static CUgraphNode *copy_nodes(const CUgraphNode *nodes, size_t count, size_t more) {
    CUgraphNode *copy = calloc(count + more + 1, sizeof *copy);
    if (copy && count) {
        memcpy(copy, nodes, count * sizeof *copy);
    }
    return copy;
}

/* Makes the nodes a stream's tail, and takes possession of the list. */
static void give_tail(capture *in, int place, CUgraphNode *nodes, size_t count) {
    free(in->tails[place].nodes);
    in->tails[place].nodes = nodes;
    in->tails[place].count = count;
}

static CUresult set_tail(capture *in, int place, const CUgraphNode *nodes, size_t count) {
    CUgraphNode *copy = copy_nodes(nodes, count, 0);
    NEED(copy, CUDA_ERROR_OUT_OF_MEMORY);
    give_tail(in, place, copy, count);
    return CUDA_SUCCESS;
}

static CUresult join_capture(capture *in, CUstream stream, const CUgraphNode *nodes, size_t count) {
    NEED(in->member_count < 64, CUDA_ERROR_OUT_OF_MEMORY);
    int place = in->member_count++;
    in->members[place] = stream;
    in->tails[place].nodes = NULL;
    stream->capture = &in->base;
    return set_tail(in, place, nodes, count);
}

static CUresult add(recorder *base, CUstream stream, const op *work) {
    capture *in = (capture *)base;
    NEED(!base->guard.broken, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    int place = member(in, stream);
    op kept = *work;
    NEED_OK(graph_work_keep(&kept));
    const CUgraphNode *after = in->tails[place].nodes;
    size_t count = in->tails[place].count;
    CUgraphNode made;
    if (in->again.on) {
        CUresult result = recapture_node(&in->again, stream->context, &kept, after, count, &made);
        base->guard.broken = result != CUDA_SUCCESS;
        NEED_OK(result);
        return set_tail(in, place, &made, 1);
    }
    if (kept.kind == OP_ALLOC) {
        NEED_OK(graph_memory(in->graph, stream->context, after, count, &kept.as.alloc.wanted));
    }
    NEED_OK(graph_add(in->graph, node_type_of(&kept), &kept, stream->context, after, count, &made));
    if (kept.kind == OP_ALLOC) {
        made->alloc = kept.as.alloc.wanted;
        *kept.as.alloc.pointer = made->alloc.pointer;
    }
    if (kept.kind == OP_GRAPH) {
        made->work.kind = OP_EMPTY;
        CUresult copied = graph_copy(kept.as.launch.graph, &made->child);
        exec_finish(kept.as.launch.exec, kept.as.launch.graph);
        NEED_OK(copied);
        made->child->owned = true;
    }
    return set_tail(in, place, &made, 1);
}

static void end_capture(capture *ended) {
    capture_guard_end(&ended->base.guard);
    ended->graph->captures--;
    for (int i = 0; i < ended->member_count; i++) {
        ended->members[i]->capture = NULL;
        free(ended->tails[i].nodes);
    }
    free(ended->edges);
    free(ended);
}

static bool in_tail(const capture *in, int place, CUgraphNode node) {
    for (size_t i = 0; i < in->tails[place].count; i++) {
        if (in->tails[place].nodes[i] == node) {
            return true;
        }
    }
    return false;
}

static bool is_followed(const capture *in, CUgraphNode node) {
    for (CUgraphNode each = in->graph->first; each; each = each->next) {
        for (size_t i = 0; i < each->need_count; i++) {
            if (each->needs[i] == node) {
                return true;
            }
        }
    }
    return false;
}

/* Whether all that a member stream did last is followed by other work, or will be by the next work of stream `other`. */
static bool leads_on(const capture *in, int place, int other) {
    for (size_t i = 0; i < in->tails[place].count; i++) {
        CUgraphNode node = in->tails[place].nodes[i];
        if (!is_followed(in, node) && !in_tail(in, other, node)) {
            return false;
        }
    }
    return true;
}

static void leave(recorder *base, CUstream stream) {
    capture *in = (capture *)base;
    if (in->origin == stream) {
        CUgraph graph = in->given_graph ? NULL : in->graph;
        end_capture(in);
        if (graph) {
            graph_end(graph);
        }
        return;
    }
    int place = member(in, stream);
    bool followed = false;
    for (int i = 0; i < in->member_count && !followed; i++) {
        followed = i != place && leads_on(in, place, i);
    }
    if (!followed) {
        base->guard.broken = true; /* its work can no longer be joined */
    }
    free(in->tails[place].nodes);
    in->members[place] = in->members[--in->member_count];
    in->tails[place] = in->tails[in->member_count];
    stream->capture = NULL;
}

static CUresult record(recorder *base, CUstream stream, CUevent event) {
    capture *in = (capture *)base;
    NEED(!base->guard.broken, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    int place = member(in, stream);
    size_t count = in->tails[place].count;
    CUgraphNode *copy = copy_nodes(in->tails[place].nodes, count, 0);
    NEED(copy, CUDA_ERROR_OUT_OF_MEMORY);
    free(event->captured);
    event->captured = copy;
    event->captured_count = count;
    event->capture = base->guard.id;
    return CUDA_SUCCESS;
}

static CUresult wait_for(recorder *base, CUstream stream, CUevent event) {
    capture *in = (capture *)base;
    if (!stream->capture) {
        return join_capture(in, stream, event->captured, event->captured_count);
    }
    if (stream->capture != base) {
        stream->capture->guard.broken = base->guard.broken = true;
        return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    int place = member(in, stream);
    size_t before = in->tails[place].count;
    CUgraphNode *all = copy_nodes(in->tails[place].nodes, before, event->captured_count);
    NEED(all, CUDA_ERROR_OUT_OF_MEMORY);
    size_t count = before;
    for (size_t i = 0; i < event->captured_count; i++) {
        bool known = false;
        for (size_t j = 0; j < count; j++) {
            known = known || all[j] == event->captured[i];
        }
        if (!known) {
            all[count++] = event->captured[i];
        }
    }
    give_tail(in, place, all, count);
    return CUDA_SUCCESS;
}

/* ---- Entry points. */

static const recorder_ops ops = {add, leave, record, wait_for};

static CUresult begin(CUstream handle, CUgraph graph, const CUgraphNode *needs, size_t need_count,
                      CUstreamCaptureMode mode) {
    NEED_STREAM(stream, handle);
    NEED((unsigned)mode <= CU_STREAM_CAPTURE_MODE_RELAXED, CUDA_ERROR_INVALID_VALUE);
    NEED(stream != current->legacy, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    NEED(!stream->capture, CUDA_ERROR_ILLEGAL_STATE);
    capture *made = calloc(1, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->given_graph = graph != NULL;
    made->graph = graph ? graph : graph_new();
    made->origin = stream;
    made->base = (recorder){{.mode = mode, .context = current, .blocking = stream_is_blocking(stream)}, &ops};
    CUresult result = made->graph ? join_capture(made, stream, needs, need_count) : CUDA_ERROR_OUT_OF_MEMORY;
    if (result != CUDA_SUCCESS) {
        free(made);
        return result;
    }
    made->graph->captures++;
    capture_guard_begin(&made->base.guard);
    return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode) {
    return begin(stream, NULL, NULL, 0, mode);
}

CUresult cuStreamBeginCapture(CUstream stream) {
    return begin(stream, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CUresult cuStreamBeginCaptureToGraph(CUstream stream, CUgraph graph, const CUgraphNode *dependencies,
                                     const CUgraphEdgeData *dependency_data, size_t dependency_count,
                                     CUstreamCaptureMode mode) {
    (void)dependency_data;
    NEED(object_is(graph, KIND_GRAPH) && (dependencies || !dependency_count), CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i < dependency_count; i++) {
        NEED(object_is(dependencies[i], KIND_NODE) && dependencies[i]->graph == graph, CUDA_ERROR_INVALID_VALUE);
    }
    return begin(stream, graph, dependencies, dependency_count, mode);
}

CUresult cuStreamBeginRecaptureToGraph(CUstream handle, CUstreamCaptureMode mode, CUgraph graph,
                                       CUgraphRecaptureCallback callback, void *user_data) {
    NEED_STREAM(stream, handle);
    NEED(object_is(graph, KIND_GRAPH) && !graph->owned && !graph->captures, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(begin(handle, graph, NULL, 0, mode));
    user_refs_drop(&graph->users);
    capture_of(stream)->again = (recapture){true, graph->first, callback, user_data};
    return CUDA_SUCCESS;
}

/* Whether every branch of the capture leads into its origin. */
static bool joined(const capture *in) {
    int origin = member(in, in->origin);
    for (int i = 0; i < in->member_count; i++) {
        if (i != origin && !leads_on(in, i, origin)) {
            return false;
        }
    }
    return true;
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph *graph) {
    NEED_STREAM(stream, handle);
    NEED(graph, CUDA_ERROR_INVALID_VALUE);
    capture *in = capture_of(stream);
    NEED(in, CUDA_ERROR_ILLEGAL_STATE);
    NEED(in->origin == stream, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    NEED(in->base.guard.mode == CU_STREAM_CAPTURE_MODE_RELAXED || pthread_equal(in->base.guard.thread, pthread_self()),
         CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    CUresult result = in->base.guard.broken ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                      : !joined(in)         ? CUDA_ERROR_STREAM_CAPTURE_UNJOINED
                      : in->again.next      ? CUDA_ERROR_GRAPH_RECAPTURE_FAILURE /* nodes are left */
                                            : CUDA_SUCCESS;
    CUgraph made = in->graph;
    bool given = in->given_graph;
    end_capture(in);
    if (result != CUDA_SUCCESS && !given) {
        graph_end(made);
        made = NULL;
    }
    *graph = result == CUDA_SUCCESS ? made : NULL;
    return result;
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *capture_status) {
    NEED_STREAM(stream, handle);
    NEED(capture_status, CUDA_ERROR_INVALID_VALUE);
    if (stream == current->legacy) {
        NEED_OK(capture_forbids_sync(current));
    }
    *capture_status = !stream->capture                ? CU_STREAM_CAPTURE_STATUS_NONE
                      : stream->capture->guard.broken ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                                      : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo_v3(CUstream handle, CUstreamCaptureStatus *capture_status_out, uint64_t *id_out,
                                   CUgraph *graph_out, const CUgraphNode **dependencies_out,
                                   const CUgraphEdgeData **edge_data_out, size_t *dependency_count_out) {
    NEED_STREAM(stream, handle);
    NEED_OK(cuStreamIsCapturing(handle, capture_status_out));
    capture *in = capture_of(stream);
    if (!in) {
        return CUDA_SUCCESS;
    }
    int place = member(in, stream);
    if (id_out) {
        *id_out = in->base.guard.id;
    }
    if (graph_out) {
        *graph_out = in->graph;
    }
    if (dependencies_out) {
        *dependencies_out = in->tails[place].nodes;
    }
    if (edge_data_out) {
        /* Callers read one for each dependency. */
        size_t count = in->tails[place].count;
        CUgraphEdgeData *plain = realloc(in->edges, (count + 1) * sizeof *plain);
        NEED(plain, CUDA_ERROR_OUT_OF_MEMORY);
        memset(plain, 0, (count + 1) * sizeof *plain);
        *edge_data_out = in->edges = plain;
    }
    if (dependency_count_out) {
        *dependency_count_out = in->tails[place].count;
    }
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *capture_status_out, uint64_t *id_out,
                                   CUgraph *graph_out, const CUgraphNode **dependencies_out,
                                   size_t *dependency_count_out) {
    return cuStreamGetCaptureInfo_v3(stream, capture_status_out, id_out, graph_out, dependencies_out, NULL,
                                     dependency_count_out);
}

CUresult cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus *capture_status_out, uint64_t *id_out) {
    return cuStreamGetCaptureInfo_v3(stream, capture_status_out, id_out, NULL, NULL, NULL, NULL);
}

CUresult cuStreamUpdateCaptureDependencies_v2(CUstream handle, CUgraphNode *dependencies,
                                              const CUgraphEdgeData *dependency_data, size_t dependency_count,
                                              unsigned int flags) {
    (void)dependency_data;
    NEED_STREAM(stream, handle);
    capture *in = capture_of(stream);
    NEED(in, CUDA_ERROR_ILLEGAL_STATE);
    NEED(flags <= CU_STREAM_SET_CAPTURE_DEPENDENCIES && (dependencies || !dependency_count), CUDA_ERROR_INVALID_VALUE);
    int place = member(in, stream);
    size_t before = flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES ? 0 : in->tails[place].count;
    CUgraphNode *all = copy_nodes(in->tails[place].nodes, before, dependency_count);
    NEED(all, CUDA_ERROR_OUT_OF_MEMORY);
    if (dependency_count) {
        memcpy(all + before, dependencies, dependency_count * sizeof *all);
    }
    give_tail(in, place, all, before + dependency_count);
    return CUDA_SUCCESS;
}

CUresult cuStreamUpdateCaptureDependencies(CUstream stream, CUgraphNode *dependencies, size_t dependency_count,
                                           unsigned int flags) {
    return cuStreamUpdateCaptureDependencies_v2(stream, dependencies, NULL, dependency_count, flags);
}
