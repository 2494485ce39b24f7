/* Limits of contexts: the heap of kernels' malloc, the buffer of their printf and the stacks of all threads that the card
 * can hold are memory of the card. Drivers take it when the limit is set, or not before a launch needs it; it is counted
 * when the limit is set, and until the context ends, since no driver promises to give it back before. */
#include "claim.h"
#include "hooks.h"
#include "lock.h"
#include "measure.h"
#include "pages.h"

static struct lock setting;

/* Handles of contexts are at least so far apart that a limit's number fits in between. */
static uint64_t key_of(CUcontext context, CUlimit limit) {
    return (uintptr_t)context + (unsigned)limit;
}

/* How many times the card holds what the limit is the size of; 0: its size says nothing of memory. */
static uint64_t times(CUlimit limit) {
    CUdevice device;
    int processors = 0, threads = 0;
    if (limit == CU_LIMIT_PRINTF_FIFO_SIZE || limit == CU_LIMIT_MALLOC_HEAP_SIZE) {
        return 1;
    }
    if (limit != CU_LIMIT_STACK_SIZE || DRIVER(cuCtxGetDevice)(&device) != CUDA_SUCCESS ||
        DRIVER(cuDeviceGetAttribute)(&processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device) != CUDA_SUCCESS ||
        DRIVER(cuDeviceGetAttribute)(&threads, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, device) !=
            CUDA_SUCCESS) {
        return 0;
    }
    return (uint64_t)processors * (uint64_t)threads;
}

/* The size with which the context began, which is part of what it cost. */
static uint64_t first_size(CUcontext context, CUlimit limit, size_t now) {
    struct ledger_entry entry;
    if (ledger_find(LEDGER_FIRST_SIZE, key_of(context, limit), &entry)) {
        return entry.bytes;
    }
    ledger_add((struct ledger_entry){
        .key = key_of(context, limit), .bytes = now, .context = context, .card = NO_CARD, .kind = LEDGER_FIRST_SIZE});
    return now;
}

static CUresult set(__typeof__(&cuCtxSetLimit) driver, CUcontext context, int card, CUlimit limit, size_t value) {
    struct measure measure;
    struct claim claim;
    struct ledger_entry has = {.bytes = 0};
    size_t now;
    uint64_t need, whole;
    if (DRIVER(cuCtxGetLimit) == NULL || DRIVER(cuCtxGetLimit)(&now, limit) != CUDA_SUCCESS) {
        return driver(limit, value);
    }
    uint64_t first = first_size(context, limit, now);
    if (__builtin_mul_overflow(value > first ? value - first : 0, times(limit), &need) || !pages_whole(need, &whole)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    ledger_find(LEDGER_LIMIT, key_of(context, limit), &has);
    if (!claim_card(&claim, context, card, whole > has.bytes ? whole - has.bytes : 0)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    measure_begin(&measure, card);
    CUresult result = driver(limit, value);
    uint64_t more = result == CUDA_SUCCESS ? measure_end(&measure, 0) : 0;
    bool refused = more > claim.bytes && !claim_adjust(&claim, more);
    if (refused) {
        driver(limit, now);
    }
    if (result == CUDA_SUCCESS && claim.counted && ledger_remove(LEDGER_LIMIT, key_of(context, limit), &has)) {
        claim.bytes += has.bytes;
    }
    result = claim_end(&claim, result, LEDGER_LIMIT, key_of(context, limit));
    return refused ? CUDA_ERROR_OUT_OF_MEMORY : result;
}

CUresult hook_cuCtxSetLimit(__typeof__(&cuCtxSetLimit) driver, CUlimit limit, size_t value) {
    CUcontext context;
    int card;
    bool of_caches = limit == CU_LIMIT_MAX_L2_FETCH_GRANULARITY || limit == CU_LIMIT_PERSISTING_L2_CACHE_SIZE;
    if (of_caches || !cards_of_current(&context, &card) || card == NO_CARD) {
        return driver(limit, value);
    }
    lock_take(&setting);
    CUresult result = set(driver, context, card, limit, value);
    lock_give(&setting);
    return result;
}
