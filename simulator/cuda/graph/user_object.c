#include "simulator/cuda/graph/user_object.h"

#include <stdlib.h>

struct CUuserObject_st {
    object object;
    CUhostFn destroy;
    void *data;
    long refs;
};

static void drop(CUuserObject user, long count) {
    if (__atomic_sub_fetch(&user->refs, count, __ATOMIC_ACQ_REL) == 0) {
        user->destroy(user->data);
        object_end(user);
    }
}

CUresult user_refs_add(user_ref **list, CUuserObject user, unsigned count, bool moved) {
    NEED(object_is(user, KIND_USER) && count, CUDA_ERROR_INVALID_VALUE);
    user_ref *added = malloc(sizeof *added);
    NEED(added, CUDA_ERROR_OUT_OF_MEMORY);
    if (!moved) {
        __atomic_add_fetch(&user->refs, count, __ATOMIC_RELAXED);
    }
    *added = (user_ref){user, count, *list};
    *list = added;
    return CUDA_SUCCESS;
}

CUresult user_refs_remove(user_ref **list, CUuserObject user, unsigned count) {
    for (user_ref **link = list; *link; link = &(*link)->next) {
        user_ref *each = *link;
        if (each->object == user && each->count >= count) {
            each->count -= count;
            if (!each->count) {
                *link = each->next;
                free(each);
            }
            drop(user, count);
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult user_refs_copy(user_ref **to, const user_ref *from) {
    for (; from; from = from->next) {
        NEED_OK(user_refs_add(to, from->object, from->count, false));
    }
    return CUDA_SUCCESS;
}

void user_refs_drop(user_ref **list) {
    while (*list) {
        user_ref *each = *list;
        *list = each->next;
        drop(each->object, each->count);
        free(each);
    }
}

CUresult cuUserObjectCreate(CUuserObject *object_out, void *pointer, CUhostFn destroy, unsigned int initial_refcount,
                            unsigned int flags) {
    NEED_DRIVER();
    NEED(object_out && destroy && initial_refcount && initial_refcount <= INT32_MAX &&
             flags == CU_USER_OBJECT_NO_DESTRUCTOR_SYNC,
         CUDA_ERROR_INVALID_VALUE);
    CUuserObject made = object_new(KIND_USER, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->destroy = destroy;
    made->data = pointer;
    made->refs = initial_refcount;
    *object_out = made;
    return CUDA_SUCCESS;
}

CUresult cuUserObjectRetain(CUuserObject user, unsigned int count) {
    NEED_DRIVER();
    NEED(object_is(user, KIND_USER) && count, CUDA_ERROR_INVALID_VALUE);
    __atomic_add_fetch(&user->refs, count, __ATOMIC_RELAXED);
    return CUDA_SUCCESS;
}

CUresult cuUserObjectRelease(CUuserObject user, unsigned int count) {
    NEED_DRIVER();
    NEED(object_is(user, KIND_USER) && count && user->refs >= (long)count, CUDA_ERROR_INVALID_VALUE);
    drop(user, count);
    return CUDA_SUCCESS;
}
