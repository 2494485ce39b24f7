/* Managed memory: where it should live, and whose it is. It never moves here; programs can ask for what they said of it. */
#include <string.h>

#include "simulator/cuda/core/later.h"
#include "simulator/cuda/memory/advice.h"
#include "simulator/cuda/memory/heap.h"
#include "simulator/cuda/stream/stream.h"

static CUresult check_managed(CUdeviceptr pointer, size_t count, CUmemLocation location) {
    extent found;
    NEED(count && heap_find(pointer, &found) && found.managed, CUDA_ERROR_INVALID_VALUE);
    NEED(heap_holds(pointer, count, false), CUDA_ERROR_INVALID_VALUE);
    bool on_gpu = location.type == CU_MEM_LOCATION_TYPE_DEVICE;
    NEED(!on_gpu || device_at(location.id), CUDA_ERROR_INVALID_DEVICE);
    return CUDA_SUCCESS;
}

static void note_prefetch(advice *known, const void *how) {
    known->prefetched = *(const CUmemLocation *)how;
}

static CUresult prefetch(CUdeviceptr pointer, size_t count, CUmemLocation location) {
    NEED_OK(check_managed(pointer, count, location));
    return advice_change(pointer, count, note_prefetch, &location);
}

CUresult cuMemPrefetchAsync_v2(CUdeviceptr dev_ptr, size_t count, CUmemLocation location, unsigned int flags,
                               CUstream handle) {
    NEED_STREAM(stream, handle);
    NEED(flags == 0, CUDA_ERROR_INVALID_VALUE);
    return prefetch(dev_ptr, count, location);
}

/* ---- Many ranges at once. Each location is for the ranges from its index on. */

static CUresult check_batch(CUdeviceptr *pointers, size_t *sizes, size_t count, unsigned long long flags) {
    NEED(pointers && sizes && count && flags == 0, CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i < count; i++) {
        NEED_OK(check_managed(pointers[i], sizes[i], (CUmemLocation){CU_MEM_LOCATION_TYPE_HOST, 0}));
    }
    return CUDA_SUCCESS;
}

CUresult cuMemDiscardBatchAsync(CUdeviceptr *pointers, size_t *sizes, size_t count, unsigned long long flags,
                                CUstream handle) {
    NEED_STREAM(stream, handle);
    NEED(stream != current->legacy, CUDA_ERROR_INVALID_VALUE);
    return check_batch(pointers, sizes, count, flags); /* what is read of the memory until it is written is anything */
}

CUresult cuMemPrefetchBatchAsync(CUdeviceptr *pointers, size_t *sizes, size_t count, CUmemLocation *locations,
                                 size_t *location_indices, size_t location_count, unsigned long long flags,
                                 CUstream handle) {
    NEED_STREAM(stream, handle);
    NEED(stream != current->legacy, CUDA_ERROR_INVALID_VALUE);
    NEED(locations && location_indices && location_count && location_count <= count, CUDA_ERROR_INVALID_VALUE);
    NEED(location_indices[0] == 0, CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 1; i < location_count; i++) {
        NEED(location_indices[i] > location_indices[i - 1] && location_indices[i] < count, CUDA_ERROR_INVALID_VALUE);
    }
    NEED_OK(check_batch(pointers, sizes, count, flags));
    for (size_t i = 0, at = 0; i < count; i++) {
        at += at + 1 < location_count && location_indices[at + 1] == i;
        NEED_OK(prefetch(pointers[i], sizes[i], locations[at]));
    }
    return CUDA_SUCCESS;
}

CUresult cuMemDiscardAndPrefetchBatchAsync(CUdeviceptr *pointers, size_t *sizes, size_t count, CUmemLocation *locations,
                                           size_t *location_indices, size_t location_count, unsigned long long flags,
                                           CUstream stream) {
    return cuMemPrefetchBatchAsync(pointers, sizes, count, locations, location_indices, location_count, flags, stream);
}

static CUmemLocation place(CUdevice ordinal) {
    CUmemLocation found = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
    if (ordinal == CU_DEVICE_CPU) {
        found.type = CU_MEM_LOCATION_TYPE_HOST;
    }
    return found;
}

CUresult cuMemPrefetchAsync(CUdeviceptr dev_ptr, size_t count, CUdevice dst_device, CUstream stream) {
    return cuMemPrefetchAsync_v2(dev_ptr, count, place(dst_device), 0, stream);
}

typedef struct saying {
    CUmem_advise advice;
    CUmemLocation location;
} saying;

static void note_advice(advice *known, const void *how) {
    const saying *said = how;
    bool on_gpu = said->location.type == CU_MEM_LOCATION_TYPE_DEVICE,
         adds = said->advice == CU_MEM_ADVISE_SET_ACCESSED_BY;
    uint32_t bit = on_gpu ? 1U << said->location.id : 0;
    switch (said->advice) {
    case CU_MEM_ADVISE_SET_READ_MOSTLY: known->read_mostly = true; break;
    case CU_MEM_ADVISE_UNSET_READ_MOSTLY: known->read_mostly = false; break;
    case CU_MEM_ADVISE_SET_PREFERRED_LOCATION: known->preferred = said->location; break;
    case CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION: known->preferred = (CUmemLocation){0}; break;
    case CU_MEM_ADVISE_SET_ACCESSED_BY:
    case CU_MEM_ADVISE_UNSET_ACCESSED_BY:
        known->accessed_by = adds ? known->accessed_by | bit : known->accessed_by & ~bit;
        known->accessed_by_host = on_gpu ? known->accessed_by_host : adds;
        break;
    }
}

CUresult cuMemAdvise_v2(CUdeviceptr dev_ptr, size_t count, CUmem_advise said, CUmemLocation location) {
    NEED_DRIVER();
    NEED(said >= CU_MEM_ADVISE_SET_READ_MOSTLY && said <= CU_MEM_ADVISE_UNSET_ACCESSED_BY, CUDA_ERROR_INVALID_VALUE);
    bool anywhere = said == CU_MEM_ADVISE_SET_READ_MOSTLY || said == CU_MEM_ADVISE_UNSET_READ_MOSTLY ||
                    said == CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION;
    saying how = {said, anywhere ? place(CU_DEVICE_CPU) : location};
    NEED_OK(check_managed(dev_ptr, count, how.location));
    return advice_change(dev_ptr, count, note_advice, &how);
}

CUresult cuMemAdvise(CUdeviceptr dev_ptr, size_t count, CUmem_advise said, CUdevice ordinal) {
    return cuMemAdvise_v2(dev_ptr, count, said, place(ordinal));
}

CUresult cuStreamAttachMemAsync(CUstream handle, CUdeviceptr pointer, size_t length, unsigned int flags) {
    NEED_STREAM(stream, handle);
    extent found;
    NEED(heap_find(pointer, &found) && found.managed, CUDA_ERROR_INVALID_VALUE);
    NEED(length == 0 || length == found.bytes, CUDA_ERROR_INVALID_VALUE);
    NEED(flags == CU_MEM_ATTACH_GLOBAL || flags == CU_MEM_ATTACH_HOST || flags == CU_MEM_ATTACH_SINGLE,
         CUDA_ERROR_INVALID_VALUE);
    return CUDA_SUCCESS;
}

/* ---- What is known of a range. */

/* What all of its parts have in common. */
typedef struct summary {
    bool begun;
    advice common;
    bool same_preferred, same_prefetched;
} summary;

static bool same_place(CUmemLocation a, CUmemLocation b) {
    return a.type == b.type && (a.type != CU_MEM_LOCATION_TYPE_DEVICE || a.id == b.id);
}

static void sum_up(const advice *known, void *into) {
    summary *all = into;
    if (!all->begun) {
        *all = (summary){true, *known, true, true};
        return;
    }
    all->common.read_mostly = all->common.read_mostly && known->read_mostly;
    all->common.accessed_by &= known->accessed_by;
    all->common.accessed_by_host = all->common.accessed_by_host && known->accessed_by_host;
    all->same_preferred = all->same_preferred && same_place(all->common.preferred, known->preferred);
    all->same_prefetched = all->same_prefetched && same_place(all->common.prefetched, known->prefetched);
}

/* A location as the number of a device. */
static int number_of(CUmemLocation location) {
    return location.type == CU_MEM_LOCATION_TYPE_DEVICE ? location.id
           : location.type == CU_MEM_LOCATION_TYPE_HOST ? CU_DEVICE_CPU
                                                        : CU_DEVICE_INVALID;
}

static void list_accessors(const advice *common, int *numbers, size_t count) {
    size_t found = 0;
    for (int ordinal = 0; ordinal < sim_driver.device_count && found < count; ordinal++) {
        if (common->accessed_by >> ordinal & 1) {
            numbers[found++] = ordinal;
        }
    }
    if (common->accessed_by_host && found < count) {
        numbers[found++] = CU_DEVICE_CPU;
    }
    while (found < count) {
        numbers[found++] = CU_DEVICE_INVALID;
    }
}

CUresult cuMemRangeGetAttribute(void *data, size_t data_size, CUmem_range_attribute attribute, CUdeviceptr dev_ptr,
                                size_t count) {
    NEED_DRIVER();
    NEED(data && data_size && data_size % sizeof(int) == 0, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(check_managed(dev_ptr, count, place(CU_DEVICE_CPU)));
    summary all = {0};
    advice_look(dev_ptr, count, sum_up, &all);
    CUmemLocation preferred = all.same_preferred ? all.common.preferred : (CUmemLocation){0};
    CUmemLocation prefetched = all.same_prefetched ? all.common.prefetched : (CUmemLocation){0};
    int *answer = data;
    NEED(data_size == sizeof *answer || (int)attribute == CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY, CUDA_ERROR_INVALID_VALUE);
    switch ((int)attribute) {
    case CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY: *answer = all.common.read_mostly; break;
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION: *answer = number_of(preferred); break;
    case CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY: list_accessors(&all.common, answer, data_size / sizeof *answer); break;
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION: *answer = number_of(prefetched); break;
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_TYPE: *answer = (int)preferred.type; break;
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_ID: *answer = preferred.id; break;
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_TYPE: *answer = (int)prefetched.type; break;
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_ID: *answer = prefetched.id; break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuMemRangeGetAttributes(void **data, size_t *data_sizes, CUmem_range_attribute *attributes,
                                 size_t attribute_count, CUdeviceptr dev_ptr, size_t count) {
    NEED_DRIVER();
    NEED(data && data_sizes && attributes && attribute_count, CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i < attribute_count; i++) {
        NEED_OK(cuMemRangeGetAttribute(data[i], data_sizes[i], attributes[i], dev_ptr, count));
    }
    return CUDA_SUCCESS;
}
