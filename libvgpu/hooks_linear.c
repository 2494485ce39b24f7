/* Linear, pitched and managed memory, and memory from pools. */
#include "claim.h"
#include "hooks.h"

/* Rows begin at multiples of this; what a driver makes of it is counted once it is known. */
#define PITCH_STEP 512

CUresult hook_cuMemAlloc_v2(__typeof__(&cuMemAlloc_v2) driver, CUdeviceptr *pointer, size_t bytes)
{
    struct claim claim;
    if (pointer == NULL)
        return driver(pointer, bytes);
    if (!claim_current(&claim, bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = driver(pointer, bytes);
    return claim_end(&claim, result, LEDGER_LINEAR, *pointer);
}

CUresult hook_cuMemAllocManaged(__typeof__(&cuMemAllocManaged) driver, CUdeviceptr *pointer, size_t bytes,
    unsigned int flags)
{
    struct claim claim;
    if (pointer == NULL)
        return driver(pointer, bytes, flags);
    if (!claim_current(&claim, bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = driver(pointer, bytes, flags);
    return claim_end(&claim, result, LEDGER_LINEAR, *pointer);
}

CUresult hook_cuMemAllocPitch_v2(__typeof__(&cuMemAllocPitch_v2) driver, CUdeviceptr *pointer, size_t *pitch,
    size_t width_in_bytes, size_t height, unsigned int element_size_bytes)
{
    struct claim claim;
    size_t bytes;
    if (pointer == NULL || pitch == NULL)
        return driver(pointer, pitch, width_in_bytes, height, element_size_bytes);
    if (__builtin_add_overflow(width_in_bytes, PITCH_STEP - 1, &bytes)
        || __builtin_mul_overflow(bytes / PITCH_STEP * PITCH_STEP, height, &bytes) || !claim_current(&claim, bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = driver(pointer, pitch, width_in_bytes, height, element_size_bytes);
    if (result == CUDA_SUCCESS && !claim_adjust(&claim, *pitch * height)) {
        DRIVER(cuMemFree_v2)(*pointer);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    return claim_end(&claim, result, LEDGER_LINEAR, *pointer);
}

/* Out of the ledger before the driver frees: from then on the address may be another thread's new memory. */
static bool take_out(CUdeviceptr pointer, struct ledger_entry *entry)
{
    return ledger_remove(LEDGER_LINEAR, pointer, entry) || ledger_remove(LEDGER_POOLED, pointer, entry);
}

static CUresult freed(CUresult result, bool noted, const struct ledger_entry *entry)
{
    if (noted && result == CUDA_SUCCESS)
        claim_return(entry);
    else if (noted)
        ledger_add(*entry);
    return result;
}

CUresult hook_cuMemFree_v2(__typeof__(&cuMemFree_v2) driver, CUdeviceptr pointer)
{
    struct ledger_entry entry;
    bool noted = take_out(pointer, &entry);
    return freed(driver(pointer), noted, &entry);
}

CUresult hook_cuMemFreeAsync(__typeof__(&cuMemFreeAsync) driver, CUdeviceptr pointer, CUstream stream)
{
    struct ledger_entry entry;
    bool noted = take_out(pointer, &entry);
    return freed(driver(pointer, stream), noted, &entry);
}

CUresult hook_cuMemAllocAsync(__typeof__(&cuMemAllocAsync) driver, CUdeviceptr *pointer, size_t bytes,
    CUstream stream)
{
    struct claim claim = {.card = NO_CARD};
    CUcontext context;
    int card;
    if (pointer == NULL)
        return driver(pointer, bytes, stream);
    if (cards_of_stream(stream, &context, &card) && !claim_card(&claim, NULL, card, bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = driver(pointer, bytes, stream);
    return claim_end(&claim, result, LEDGER_POOLED, *pointer);
}

CUresult hook_cuMemAllocFromPoolAsync(__typeof__(&cuMemAllocFromPoolAsync) driver, CUdeviceptr *pointer, size_t bytes,
    CUmemoryPool pool, CUstream stream)
{
    struct claim claim = {.card = NO_CARD};
    CUcontext context;
    int card;
    if (pointer == NULL)
        return driver(pointer, bytes, pool, stream);
    if (cards_of_stream(stream, &context, &card) && !claim_card(&claim, NULL, card, bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = driver(pointer, bytes, pool, stream);
    return claim_end(&claim, result, LEDGER_POOLED, *pointer);
}
