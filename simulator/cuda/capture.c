/* Captures: a stream's work is recorded into a graph instead of being run. */
#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/graph.h"

typedef struct capture {
    uint64_t id;
    CUgraph graph;
    bool given_graph; /* the caller's, which outlives the capture */
    CUstream origin;
    CUstreamCaptureMode mode;
    pthread_t thread;
    bool broken;
    CUstream members[64]; /* streams in the capture, with the nodes that their next work waits for */
    struct {
        CUgraphNode *nodes;
        size_t count;
    } tails[64];
    int member_count;
    struct capture *next;
} capture;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static capture *captures;
static uint64_t next_id;
static __thread CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

static int member(const capture *in, CUstream stream) {
    for (int i = 0; i < in->member_count; i++) {
        if (in->members[i] == stream) {
            return i;
        }
    }
    return -1;
}

static CUresult set_tail(capture *in, int place, const CUgraphNode *nodes, size_t count) {
    CUgraphNode *copy = malloc((count ? count : 1) * sizeof *copy);
    NEED(copy, CUDA_ERROR_OUT_OF_MEMORY);
    if (count) {
        memcpy(copy, nodes, count * sizeof *copy);
    }
    free(in->tails[place].nodes);
    in->tails[place].nodes = copy;
    in->tails[place].count = count;
    return CUDA_SUCCESS;
}

static CUresult join_capture(capture *in, CUstream stream, const CUgraphNode *nodes, size_t count) {
    NEED(in->member_count < 64, CUDA_ERROR_OUT_OF_MEMORY);
    int place = in->member_count++;
    in->members[place] = stream;
    in->tails[place].nodes = NULL;
    stream->capture = in;
    return set_tail(in, place, nodes, count);
}

CUresult capture_add(CUstream stream, const op *work) {
    capture *in = stream->capture;
    NEED(!in->broken, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    int place = member(in, stream);
    op kept = *work;
    if (kept.kind == OP_KERNEL && kept.as.kernel.parameters) {
        kept.as.kernel.parameters = malloc(kept.as.kernel.function->parameter_bytes);
        NEED(kept.as.kernel.parameters, CUDA_ERROR_OUT_OF_MEMORY);
        memcpy(kept.as.kernel.parameters, work->as.kernel.parameters, kept.as.kernel.function->parameter_bytes);
    }
    CUgraphNode made;
    NEED_OK(graph_add(in->graph, node_type_of(&kept), &kept, stream->context, in->tails[place].nodes,
                      in->tails[place].count, &made));
    if (kept.kind == OP_ALLOC) {
        made->alloc = kept.as.alloc.wanted;
    }
    if (kept.kind == OP_GRAPH) {
        made->work.kind = OP_EMPTY;
        CUresult copied = graph_copy(kept.as.launch.graph, &made->child);
        exec_drop(kept.as.launch.exec, kept.as.launch.graph);
        NEED_OK(copied);
        made->child->owned = true;
    }
    return set_tail(in, place, &made, 1);
}

CUresult capture_forbids_sync(CUcontext context) {
    CUresult result = CUDA_SUCCESS;
    if (!__atomic_load_n(&captures, __ATOMIC_ACQUIRE) || thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED) {
        return result;
    }
    pthread_mutex_lock(&lock);
    for (capture *each = captures; each; each = each->next) {
        bool mine = pthread_equal(each->thread, pthread_self());
        bool guarded =
            each->mode == CU_STREAM_CAPTURE_MODE_GLOBAL || (each->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && mine);
        bool blocking = !(each->origin->flags & CU_STREAM_NON_BLOCKING);
        if (each->origin->context == context && guarded && blocking) {
            each->broken = true;
            result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult capture_forbids_unsafe(void) {
    CUresult result = CUDA_SUCCESS;
    if (!__atomic_load_n(&captures, __ATOMIC_ACQUIRE) || thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED) {
        return result;
    }
    pthread_mutex_lock(&lock);
    for (capture *each = captures; each; each = each->next) {
        bool mine = pthread_equal(each->thread, pthread_self());
        bool guarded =
            thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL
                ? each->mode == CU_STREAM_CAPTURE_MODE_GLOBAL || (each->mode != CU_STREAM_CAPTURE_MODE_RELAXED && mine)
                : each->mode != CU_STREAM_CAPTURE_MODE_RELAXED && mine;
        if (guarded) {
            each->broken = true;
            result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static void end_capture(capture *ended) {
    pthread_mutex_lock(&lock);
    for (capture **link = &captures; *link; link = &(*link)->next) {
        if (*link == ended) {
            *link = ended->next;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < ended->member_count; i++) {
        ended->members[i]->capture = NULL;
        free(ended->tails[i].nodes);
    }
    free(ended);
}

void capture_leave(CUstream stream) {
    capture *in = stream->capture;
    if (!in) {
        return;
    }
    if (in->origin == stream) {
        CUgraph graph = in->given_graph ? NULL : in->graph;
        end_capture(in);
        if (graph) {
            graph_end(graph);
        }
        return;
    }
    int place = member(in, stream);
    in->broken = true; /* its work can no longer be joined */
    free(in->tails[place].nodes);
    in->members[place] = in->members[--in->member_count];
    in->tails[place] = in->tails[in->member_count];
    stream->capture = NULL;
}

CUresult capture_record(CUstream stream, CUevent event) {
    capture *in = stream->capture;
    NEED(!in->broken, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    int place = member(in, stream);
    size_t count = in->tails[place].count;
    CUgraphNode *copy = malloc((count ? count : 1) * sizeof *copy);
    NEED(copy, CUDA_ERROR_OUT_OF_MEMORY);
    if (count) {
        memcpy(copy, in->tails[place].nodes, count * sizeof *copy);
    }
    free(event->captured);
    event->captured = copy;
    event->captured_count = count;
    event->capture = in;
    return CUDA_SUCCESS;
}

static bool alive(const capture *asked) {
    bool found = false;
    pthread_mutex_lock(&lock);
    for (capture *each = captures; each && !found; each = each->next) {
        found = each == asked;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

CUresult capture_wait(CUstream stream, CUevent event) {
    capture *in = event->capture;
    if (!in || !alive(in)) {
        if (stream->capture) {
            stream->capture->broken = true;
            return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
        }
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!stream->capture) {
        return join_capture(in, stream, event->captured, event->captured_count);
    }
    if (stream->capture != in) {
        stream->capture->broken = in->broken = true;
        return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    int place = member(in, stream);
    size_t before = in->tails[place].count;
    CUgraphNode all[before + event->captured_count + 1];
    size_t count = before;
    if (before) {
        memcpy(all, in->tails[place].nodes, before * sizeof *all);
    }
    for (size_t i = 0; i < event->captured_count; i++) {
        bool known = false;
        for (size_t j = 0; j < count; j++) {
            known = known || all[j] == event->captured[i];
        }
        if (!known) {
            all[count++] = event->captured[i];
        }
    }
    return set_tail(in, place, all, count);
}

/* ---- Entry points. */

static CUresult begin(CUstream handle, CUgraph graph, const CUgraphNode *needs, size_t need_count,
                      CUstreamCaptureMode mode) {
    NEED_CONTEXT(current);
    CUstream stream = stream_find(current, handle);
    NEED(stream, CUDA_ERROR_INVALID_HANDLE);
    NEED((unsigned)mode <= CU_STREAM_CAPTURE_MODE_RELAXED, CUDA_ERROR_INVALID_VALUE);
    NEED(stream != current->legacy, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    NEED(!stream->capture, CUDA_ERROR_ILLEGAL_STATE);
    capture *made = calloc(1, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->id = __atomic_add_fetch(&next_id, 1, __ATOMIC_RELAXED);
    made->given_graph = graph != NULL;
    made->graph = graph ? graph : graph_new();
    made->origin = stream;
    made->mode = mode;
    made->thread = pthread_self();
    CUresult result = made->graph ? join_capture(made, stream, needs, need_count) : CUDA_ERROR_OUT_OF_MEMORY;
    if (result != CUDA_SUCCESS) {
        free(made);
        return result;
    }
    pthread_mutex_lock(&lock);
    made->next = captures;
    __atomic_store_n(&captures, made, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
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
    NEED(object_is(graph, KIND_GRAPH), CUDA_ERROR_INVALID_VALUE);
    return begin(stream, graph, dependencies, dependency_count, mode);
}

/* Whether every branch of the capture leads into its origin. */
static bool joined(const capture *in) {
    int origin = member(in, in->origin);
    for (int i = 0; i < in->member_count; i++) {
        for (size_t j = 0; i != origin && j < in->tails[i].count; j++) {
            bool followed = false;
            for (CUgraphNode node = in->graph->first; node && !followed; node = node->next) {
                for (size_t k = 0; k < node->need_count && !followed; k++) {
                    followed = node->needs[k] == in->tails[i].nodes[j];
                }
            }
            for (size_t k = 0; k < in->tails[origin].count && !followed; k++) {
                followed = in->tails[origin].nodes[k] == in->tails[i].nodes[j];
            }
            if (!followed) {
                return false;
            }
        }
    }
    return true;
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph *graph) {
    NEED_STREAM(stream, handle);
    NEED(graph, CUDA_ERROR_INVALID_VALUE);
    capture *in = stream->capture;
    NEED(in, CUDA_ERROR_ILLEGAL_STATE);
    NEED(in->origin == stream, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    NEED(in->mode == CU_STREAM_CAPTURE_MODE_RELAXED || pthread_equal(in->thread, pthread_self()),
         CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    CUresult result = in->broken   ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                      : joined(in) ? CUDA_SUCCESS
                                   : CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
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
    *capture_status = !stream->capture          ? CU_STREAM_CAPTURE_STATUS_NONE
                      : stream->capture->broken ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                                : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo_v3(CUstream handle, CUstreamCaptureStatus *capture_status_out, uint64_t *id_out,
                                   CUgraph *graph_out, const CUgraphNode **dependencies_out,
                                   const CUgraphEdgeData **edge_data_out, size_t *dependency_count_out) {
    NEED_STREAM(stream, handle);
    NEED_OK(cuStreamIsCapturing(handle, capture_status_out));
    capture *in = stream->capture;
    if (!in) {
        return CUDA_SUCCESS;
    }
    int place = member(in, stream);
    if (id_out) {
        *id_out = in->id;
    }
    if (graph_out) {
        *graph_out = in->graph;
    }
    if (dependencies_out) {
        *dependencies_out = in->tails[place].nodes;
    }
    if (edge_data_out) {
        *edge_data_out = NULL;
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
    capture *in = stream->capture;
    NEED(in, CUDA_ERROR_ILLEGAL_STATE);
    NEED(flags <= CU_STREAM_SET_CAPTURE_DEPENDENCIES && (dependencies || !dependency_count), CUDA_ERROR_INVALID_VALUE);
    int place = member(in, stream);
    size_t before = flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES ? 0 : in->tails[place].count;
    CUgraphNode all[before + dependency_count + 1];
    if (before) {
        memcpy(all, in->tails[place].nodes, before * sizeof *all);
    }
    if (dependency_count) {
        memcpy(all + before, dependencies, dependency_count * sizeof *all);
    }
    return set_tail(in, place, all, before + dependency_count);
}

CUresult cuStreamUpdateCaptureDependencies(CUstream stream, CUgraphNode *dependencies, size_t dependency_count,
                                           unsigned int flags) {
    return cuStreamUpdateCaptureDependencies_v2(stream, dependencies, NULL, dependency_count, flags);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
    NEED_DRIVER();
    NEED(mode && (unsigned)*mode <= CU_STREAM_CAPTURE_MODE_RELAXED, CUDA_ERROR_INVALID_VALUE);
    CUstreamCaptureMode before = thread_mode;
    thread_mode = *mode;
    *mode = before;
    return CUDA_SUCCESS;
}
