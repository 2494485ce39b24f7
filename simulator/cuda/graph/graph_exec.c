/* Executable graphs, and their launches.
 *
 * Instantiation copies the graph and sorts the copy's nodes, so that a launch visits each node once: it starts when all its
 * dependencies are complete. Memory of allocation nodes is reserved at launch time, before anything runs, so that the caller
 * sees a failure. A launch that has to wait holds the graph as it was: updates in the meantime change a copy. */
#include "simulator/cuda/graph/graph_exec.h"

#include "simulator/cuda/graph/graph_copy.h"
#include "simulator/cuda/memory/graph_memory.h"
#include "simulator/cuda/memory/transfer.h"
#include "simulator/cuda/stream/device_queue.h"
#include "simulator/cuda/stream/event.h"
#include "simulator/cuda/stream/queue.h"
#include "simulator/cuda/stream/run.h"
#include "simulator/cuda/stream/semaphore.h"

static uint64_t run_graph(CUgraph graph, CUstream stream, uint64_t start);

/* Runs one node that may start at `ready`; returns when it is complete. */
static uint64_t run_node(CUgraphNode node, CUstream stream, uint64_t ready) {
    const op *work = &node->work;
    if (node->off) {
        return ready;
    }
    if (node->child) {
        return run_graph(node->child, stream, ready);
    }
    switch (work->kind) {
    case OP_KERNEL: return kernel_run(node->context->device, work, ready);
    case OP_HOST:
        device_queue_rest();
        sleep_until(ready);
        work->as.host.callback(work->as.host.data);
        return sim_later(ready, sim_now_ns());
    case OP_COPY:
    case OP_COPY_BOX:
    case OP_FILL: transfer_run(work); return ready;
    case OP_ALLOC:
        if (node->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC) {
            heap_charge(node->alloc.pointer); /* it may have been freed since the launch */
        }
        return ready;
    case OP_FREE: heap_free(work->as.free); return ready;
    case OP_RECORD: {
        fence *point = event_begin(work->as.event.event);
        if (point) {
            fence_signal(point, ready);
            fence_unref(point);
        }
        return ready;
    }
    case OP_WAIT: {
        device_queue_rest();
        fence *point = work->as.event.fence ? fence_ref(work->as.event.fence) : event_point(work->as.event.event);
        uint64_t end = point ? sim_later(ready, fence_wait(point)) : ready;
        fence_unref(point);
        return end;
    }
    case OP_SIGNAL:
    case OP_AWAIT:
        device_queue_rest();
        for (unsigned i = 0; i < work->as.semaphore.all->count; i++) {
            const semaphore_list *all = work->as.semaphore.all;
            op one = {.kind = work->kind, .as.semaphore = {all->semaphores[i], all->params[i].value, NULL}};
            stream_run(stream, &one, ready);
            ready = sim_later(ready, stream->ready_ns);
        }
        return ready;
    case OP_WAIT_VALUE:
    case OP_WRITE_VALUE: {
        device_queue_rest();
        stream_run(stream, work, ready);
        return sim_later(ready, stream->ready_ns);
    }
    default: return ready;
    }
}

static uint64_t run_graph(CUgraph graph, CUstream stream, uint64_t start) {
    uint64_t end = start;
    for (CUgraphNode node = graph->first; node; node = node->next) {
        uint64_t ready = start;
        for (size_t i = 0; i < node->need_count; i++) {
            ready = sim_later(ready, node->needs[i]->done_ns);
        }
        node->done_ns = run_node(node, stream, ready);
        end = sim_later(end, node->done_ns);
    }
    return end;
}

static uint64_t run_launch(const op *launch, CUstream stream, uint64_t ready) {
    CUgraphExec exec = launch->as.launch.exec;
    pthread_mutex_lock(&exec->running);
    uint64_t end = run_graph(launch->as.launch.graph, stream, ready);
    pthread_mutex_unlock(&exec->running);
    exec_finish(exec, launch->as.launch.graph);
    return end;
}

static bool calls_host(CUgraph graph) {
    for (CUgraphNode node = graph->first; node; node = node->next) {
        bool waits = node->work.kind == OP_HOST || node->work.kind == OP_WAIT_VALUE ||
                     node->work.kind == OP_WRITE_VALUE || node->work.kind == OP_WAIT || node->work.kind == OP_SIGNAL ||
                     node->work.kind == OP_AWAIT;
        if (waits || (node->child && calls_host(node->child))) {
            return true;
        }
    }
    return false;
}

static uint64_t kernel_time(CUgraph graph) {
    uint64_t sum = 0;
    for (CUgraphNode node = graph->first; node; node = node->next) {
        sum += node->child                    ? kernel_time(node->child)
               : node->work.kind == OP_KERNEL ? node->work.as.kernel.duration_ns
                                              : 0;
    }
    return sum;
}

static bool must_wait(const op *launch, const device *card) {
    CUgraphExec exec = launch->as.launch.exec;
    CUgraph graph = launch->as.launch.graph;
    if (pthread_mutex_trylock(&exec->running) != 0) {
        return true;
    }
    uint64_t time = kernel_time(graph);
    bool waits = calls_host(graph) ||
                 (time && (device_queue_is_contended(card) || !sim_work_fits(sim_driver.machine, card->gpu, time)));
    pthread_mutex_unlock(&exec->running);
    return waits;
}

static void drop(CUgraphExec exec) {
    if (__atomic_sub_fetch(&exec->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        if (object_is(exec->source, KIND_GRAPH) && exec->source->id == exec->source_id) {
            __atomic_sub_fetch(&exec->source->instances, 1, __ATOMIC_RELAXED);
        }
        graph_unref(exec->graph);
        pthread_mutex_destroy(&exec->running);
        object_end(exec);
    }
}

void exec_finish(CUgraphExec exec, CUgraph graph) {
    graph_unref(graph);
    drop(exec);
}

/* ---- Entry points. */

CUresult cuGraphInstantiateWithFlags(CUgraphExec *graph_exec, CUgraph graph, unsigned long long flags) {
    NEED_CONTEXT(current);
    NEED(graph_exec && object_is(graph, KIND_GRAPH), CUDA_ERROR_INVALID_VALUE);
    unsigned long long known = CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD |
                               CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH |
                               CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
    NEED(!(flags & ~known), CUDA_ERROR_INVALID_VALUE);
    NEED(!__atomic_load_n(&graph->instances, __ATOMIC_RELAXED) || !graph_owns_memory(graph), CUDA_ERROR_NOT_SUPPORTED);
    NEED(!graph->captures, CUDA_ERROR_INVALID_VALUE); /* until the capture into it has ended */
    CUgraphExec made = object_new(KIND_EXEC, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->context = current;
    made->flags = flags;
    made->refs = 1;
    pthread_mutex_init(&made->running, NULL);
    CUresult result = graph_copy(graph, &made->graph);
    if (result == CUDA_SUCCESS) {
        result = graph_order(made->graph);
        if (result != CUDA_SUCCESS) {
            graph_end(made->graph);
        }
    }
    if (result != CUDA_SUCCESS) {
        object_end(made);
        return result;
    }
    made->id = made->graph->id;
    made->source = graph;
    made->source_id = graph->id;
    __atomic_add_fetch(&graph->instances, 1, __ATOMIC_RELAXED);
    *graph_exec = made;
    return CUDA_SUCCESS;
}

CUresult cuGraphInstantiate_v2(CUgraphExec *graph_exec, CUgraph graph, CUgraphNode *error_node, char *log_buffer,
                               size_t buffer_size) {
    if (error_node) {
        *error_node = NULL;
    }
    if (log_buffer && buffer_size) {
        *log_buffer = 0;
    }
    return cuGraphInstantiateWithFlags(graph_exec, graph, 0);
}

CUresult cuGraphInstantiate(CUgraphExec *graph_exec, CUgraph graph, CUgraphNode *error_node, char *log_buffer,
                            size_t buffer_size) {
    return cuGraphInstantiate_v2(graph_exec, graph, error_node, log_buffer, buffer_size);
}

CUresult cuGraphInstantiateWithParams(CUgraphExec *graph_exec, CUgraph graph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS *instantiate_params) {
    NEED(instantiate_params, CUDA_ERROR_INVALID_VALUE);
    instantiate_params->error_node = NULL;
    CUresult result = cuGraphInstantiateWithFlags(graph_exec, graph, instantiate_params->flags);
    instantiate_params->result = result == CUDA_SUCCESS ? CUDA_GRAPH_INSTANTIATE_SUCCESS : CUDA_GRAPH_INSTANTIATE_ERROR;
    return result;
}

CUresult cuGraphExecGetFlags(CUgraphExec graph_exec, uint64_t *flags) {
    NEED_DRIVER();
    NEED_EXEC(graph_exec);
    NEED(flags, CUDA_ERROR_INVALID_VALUE);
    *flags = graph_exec->flags;
    return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec graph_exec) {
    NEED_DRIVER();
    NEED_EXEC(graph_exec);
    drop(graph_exec);
    return CUDA_SUCCESS;
}

/* Reserves the memory of allocation nodes. Memory that earlier work has yet to free is reserved when the launch runs. */
static CUresult take_memory(CUgraph graph, bool free_first) {
    for (CUgraphNode node = graph->first; node; node = node->next) {
        if (node->child) {
            NEED_OK(take_memory(node->child, free_first));
        }
        if (node->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC) {
            CUresult taken = heap_charge(node->alloc.pointer);
            if (taken == CUDA_ERROR_INVALID_VALUE && free_first) {
                heap_uncharge(node->alloc.pointer);
                taken = heap_charge(node->alloc.pointer);
            }
            NEED_OK(taken);
        } else if (node->type == CU_GRAPH_NODE_TYPE_MEM_FREE) {
            heap_expect_free(node->work.as.free);
        }
    }
    return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec graph_exec, CUstream handle) {
    NEED_STREAM(stream, handle);
    NEED_EXEC(graph_exec);
    if (!stream->capture) {
        static pthread_mutex_t taking = PTHREAD_MUTEX_INITIALIZER; /* reservations and expected frees */
        bool free_first = graph_exec->flags & CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        pthread_mutex_lock(&taking);
        CUresult taken = take_memory(graph_exec->graph, free_first);
        pthread_mutex_unlock(&taking);
        NEED_OK(taken);
    }
    __atomic_add_fetch(&graph_exec->refs, 1, __ATOMIC_RELAXED);
    static const launch_ops ops = {must_wait, run_launch};
    op work = {.kind = OP_GRAPH, .as.launch = {&ops, graph_exec, graph_ref(graph_exec->graph)}};
    return stream_submit(stream, &work);
}

CUresult cuGraphUpload(CUgraphExec graph_exec, CUstream handle) {
    NEED_STREAM(stream, handle);
    NEED_EXEC(graph_exec);
    return CUDA_SUCCESS;
}
