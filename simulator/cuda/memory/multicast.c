/* Multicast objects: memory of several GPUs behind one address, on machines whose GPUs a switch joins. An object has no memory
 * of its own. Its instructions don't run, so nothing is ever spread; what is kept is who takes part and what is bound. */
#include "simulator/cuda/memory/multicast.h"

#include <stdlib.h>
#include <unistd.h>

static pthread_cond_t joined = PTHREAD_COND_INITIALIZER;

static bool machine_supports(void) {
    return sim_driver.device_count && device_spreads(&sim_driver.devices[0]);
}

static CUresult check(const CUmulticastObjectProp *wanted) {
    NEED(machine_supports(), CUDA_ERROR_NOT_SUPPORTED);
    NEED(wanted && wanted->flags == 0 && wanted->size && wanted->size % GRANULE == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(wanted->device_count && wanted->device_count <= (unsigned)sim_driver.device_count, CUDA_ERROR_INVALID_VALUE);
    NEED(wanted->handle_types == CU_MEM_HANDLE_TYPE_NONE, CUDA_ERROR_NOT_SUPPORTED);
    return CUDA_SUCCESS;
}

struct multicast *multicast_of(CUmemGenericAllocationHandle handle) {
    physical *found = physical_of(handle);
    return found ? found->multicast : NULL;
}

/* Ends an object with what is still bound to it. */
static void end_object(physical *handle) {
    struct multicast *ended = handle->multicast;
    while (ended->bindings) {
        binding *next = ended->bindings->next;
        if (ended->bindings->memory) {
            physical_unref(ended->bindings->memory);
        }
        free(ended->bindings);
        ended->bindings = next;
    }
    pthread_mutex_destroy(&ended->lock);
    free(ended);
}

CUresult cuMulticastGetGranularity(size_t *granularity, const CUmulticastObjectProp *properties,
                                   CUmulticastGranularity_flags option) {
    NEED_DRIVER();
    NEED(granularity && (unsigned)option <= CU_MULTICAST_GRANULARITY_RECOMMENDED, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(check(properties));
    *granularity = GRANULE;
    return CUDA_SUCCESS;
}

CUresult cuMulticastCreate(CUmemGenericAllocationHandle *mc_handle, const CUmulticastObjectProp *properties) {
    NEED_DRIVER();
    NEED(mc_handle, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(check(properties));
    struct multicast *made = calloc(1, sizeof *made);
    int file = made ? memory_file(NULL, properties->size) : -1;
    CUresult result = file >= 0 ? memory_import(file, mc_handle) : CUDA_ERROR_OUT_OF_MEMORY;
    if (result != CUDA_SUCCESS) {
        free(made);
        if (file >= 0) {
            close(file);
        }
        return result;
    }
    made->wanted = properties->device_count;
    made->bytes = properties->size;
    pthread_mutex_init(&made->lock, NULL);
    physical *handle = physical_of(*mc_handle);
    handle->multicast = made;
    handle->end = end_object;
    return CUDA_SUCCESS;
}

CUresult cuMulticastAddDevice(CUmemGenericAllocationHandle mc_handle, CUdevice ordinal) {
    NEED_DEVICE(added, ordinal);
    struct multicast *in = multicast_of(mc_handle);
    NEED(in, CUDA_ERROR_INVALID_VALUE);
    NEED(device_spreads(added), CUDA_ERROR_INVALID_DEVICE);
    uint32_t bit = 1U << added->gpu;
    pthread_mutex_lock(&in->lock);
    CUresult result = in->count < in->wanted && !(in->team & bit) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        in->team |= bit;
        in->count++;
        pthread_cond_broadcast(&joined);
    }
    pthread_mutex_unlock(&in->lock);
    return result;
}

void multicast_await(struct multicast *in) {
    pthread_mutex_lock(&in->lock);
    while (in->count < in->wanted) {
        pthread_cond_wait(&joined, &in->lock);
    }
    pthread_mutex_unlock(&in->lock);
}
