/* Objects of the program that graphs keep alive. */
#include <stdlib.h>

#include "simulator/cuda/graph.h"

struct CUuserObject_st {
    object object;
    CUhostFn destroy;
    void *data;
    long holders;
};

typedef struct user_hold {
    CUuserObject held;
    unsigned count;
    struct user_hold *next;
} user_hold;

static void drop(CUuserObject held, long count) {
    if (__atomic_sub_fetch(&held->holders, count, __ATOMIC_ACQ_REL) == 0) {
        held->destroy(held->data);
        object_end(held);
    }
}

void graph_drop_users(CUgraph graph) {
    while (graph->users) {
        user_hold *hold = graph->users;
        graph->users = hold->next;
        drop(hold->held, hold->count);
        free(hold);
    }
}

CUresult cuUserObjectCreate(CUuserObject *object_out, void *pointer, CUhostFn destroy, unsigned int initial_refcount,
                            unsigned int flags) {
    NEED_DRIVER();
    NEED(object_out && destroy && initial_refcount && flags == CU_USER_OBJECT_NO_DESTRUCTOR_SYNC,
         CUDA_ERROR_INVALID_VALUE);
    CUuserObject made = object_new(KIND_USER, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->destroy = destroy;
    made->data = pointer;
    made->holders = initial_refcount;
    *object_out = made;
    return CUDA_SUCCESS;
}

CUresult cuUserObjectRetain(CUuserObject object, unsigned int count) {
    NEED_DRIVER();
    NEED(object_is(object, KIND_USER) && count, CUDA_ERROR_INVALID_VALUE);
    __atomic_add_fetch(&object->holders, count, __ATOMIC_RELAXED);
    return CUDA_SUCCESS;
}

CUresult cuUserObjectRelease(CUuserObject object, unsigned int count) {
    NEED_DRIVER();
    NEED(object_is(object, KIND_USER) && count && object->holders >= (long)count, CUDA_ERROR_INVALID_VALUE);
    drop(object, count);
    return CUDA_SUCCESS;
}

CUresult cuGraphRetainUserObject(CUgraph graph, CUuserObject object, unsigned int count, unsigned int flags) {
    NEED_DRIVER();
    NEED(object_is(graph, KIND_GRAPH) && object_is(object, KIND_USER) && count, CUDA_ERROR_INVALID_VALUE);
    NEED(!(flags & ~(unsigned)CU_GRAPH_USER_OBJECT_MOVE), CUDA_ERROR_INVALID_VALUE);
    user_hold *hold = malloc(sizeof *hold);
    NEED(hold, CUDA_ERROR_OUT_OF_MEMORY);
    if (!(flags & CU_GRAPH_USER_OBJECT_MOVE)) {
        __atomic_add_fetch(&object->holders, count, __ATOMIC_RELAXED);
    }
    *hold = (user_hold){object, count, graph->users};
    graph->users = hold;
    return CUDA_SUCCESS;
}

CUresult cuGraphReleaseUserObject(CUgraph graph, CUuserObject object, unsigned int count) {
    NEED_DRIVER();
    NEED(object_is(graph, KIND_GRAPH) && count, CUDA_ERROR_INVALID_VALUE);
    for (user_hold **link = &graph->users; *link; link = &(*link)->next) {
        user_hold *hold = *link;
        if (hold->held == object && hold->count >= count) {
            hold->count -= count;
            if (!hold->count) {
                *link = hold->next;
                free(hold);
            }
            drop(object, count);
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_INVALID_VALUE;
}
