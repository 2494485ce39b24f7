/* Conditional nodes: graphs of which a value chooses one.
 *
 * On a GPU, kernels set the value. Here their instructions don't run, so it keeps the default of its handle, and which graph
 * runs is known when the node is made. The graph of a loop whose condition holds runs once: nothing could end the loop. */
#include <stdlib.h>

#include "simulator/cuda/graph/graph.h"

enum { TYPE_IF, TYPE_WHILE, TYPE_SWITCH };
enum { ASSIGN_DEFAULT = 1 };

CUresult cuGraphConditionalHandleCreate(CUgraphConditionalHandle *handle_out, CUgraph graph, CUcontext context,
                                        unsigned int default_launch_value, unsigned int flags) {
    NEED_DRIVER();
    NEED(handle_out && object_is(graph, KIND_GRAPH), CUDA_ERROR_INVALID_VALUE);
    NEED(flags <= ASSIGN_DEFAULT && (!context || object_is(context, KIND_CONTEXT)), CUDA_ERROR_INVALID_VALUE);
    static CUgraphConditionalHandle last;
    condition *made = calloc(1, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->handle = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
    made->value = flags & ASSIGN_DEFAULT ? default_launch_value : 0;
    made->next = graph->conditions;
    graph->conditions = made;
    *handle_out = made->handle;
    return CUDA_SUCCESS;
}

static const condition *find(CUgraph graph, CUgraphConditionalHandle handle) {
    const condition *each = graph->conditions;
    while (each && each->handle != handle) {
        each = each->next;
    }
    return each;
}

/* Which graph runs; `size` when none does. */
static unsigned chosen(int type, unsigned size, unsigned value) {
    switch (type) {
    case TYPE_IF: return value ? 0 : 1;
    case TYPE_WHILE: return value ? 0 : size;
    default: return value;
    }
}

static bool fits(int type, unsigned size) {
    switch (type) {
    case TYPE_IF: return size == 1 || size == 2;
    case TYPE_WHILE: return size == 1;
    case TYPE_SWITCH: return size > 0;
    default: return false;
    }
}

CUresult graph_add_conditional(CUgraphNode *made, CUgraph graph, const CUgraphNode *needs, size_t need_count,
                               CUDA_CONDITIONAL_NODE_PARAMS *wanted) {
    NEED_DRIVER();
    NEED(object_is(graph, KIND_GRAPH) && fits(wanted->type, wanted->size), CUDA_ERROR_INVALID_VALUE);
    const condition *value = find(graph, wanted->handle);
    NEED(value, CUDA_ERROR_INVALID_VALUE);
    CUgraph *bodies = calloc(wanted->size, sizeof(CUgraph));
    NEED(bodies, CUDA_ERROR_OUT_OF_MEMORY);
    CUresult result = CUDA_SUCCESS;
    unsigned count = 0;
    while (count < wanted->size && (bodies[count] = graph_new())) {
        bodies[count++]->owned = true;
    }
    op nothing = {.kind = OP_EMPTY};
    result = count < wanted->size
                 ? CUDA_ERROR_OUT_OF_MEMORY
                 : graph_add(graph, CU_GRAPH_NODE_TYPE_CONDITIONAL, &nothing, wanted->context, needs, need_count, made);
    if (result != CUDA_SUCCESS) {
        while (count) {
            graph_end(bodies[--count]);
        }
        free(bodies);
        return result;
    }
    unsigned runs = chosen(wanted->type, wanted->size, value->value);
    (*made)->bodies = wanted->bodies = bodies;
    (*made)->body_count = count;
    (*made)->conditional = *wanted;
    (*made)->child = runs < count ? bodies[runs] : NULL;
    return CUDA_SUCCESS;
}
