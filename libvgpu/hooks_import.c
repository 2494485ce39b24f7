/* Memory that somebody else made: of another API, or of another process. What a process of this container made is
 * counted there already; what comes from elsewhere is counted here.
 */
#include "account.h"
#include "claim.h"
#include "hooks.h"
#include "imports.h"

bool imports_made_here(int card, uint64_t bytes) {
    struct account_process processes[VGPU_SLOTS];
    if (card == NO_CARD) {
        return false;
    }
    unsigned count = account_processes((unsigned)card, processes, VGPU_SLOTS);
    for (unsigned place = 0; place < count; place++) {
        if (processes[place].used >= bytes) {
            return true;
        }
    }
    return false;
}

CUresult hook_cuImportExternalMemory(__typeof__(&cuImportExternalMemory) driver, CUexternalMemory *ext_mem_out,
                                     const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *mem_handle_desc) {
    struct claim claim;
    if (ext_mem_out == NULL || mem_handle_desc == NULL) {
        return driver(ext_mem_out, mem_handle_desc);
    }
    if (!claim_current(&claim, mem_handle_desc->size)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(ext_mem_out, mem_handle_desc);
    return claim_end(&claim, result, LEDGER_EXTERNAL, (uintptr_t)*ext_mem_out);
}

CUresult hook_cuDestroyExternalMemory(__typeof__(&cuDestroyExternalMemory) driver, CUexternalMemory ext_mem) {
    struct ledger_entry entry;
    bool noted = ledger_remove(LEDGER_EXTERNAL, (uintptr_t)ext_mem, &entry);
    CUresult result = driver(ext_mem);
    if (noted && result == CUDA_SUCCESS) {
        claim_return(&entry);
    } else if (noted) {
        ledger_add(entry);
    }
    return result;
}

/* The other process's memory is known by its size only once it is here. */
static CUresult opened(CUresult result, CUdeviceptr *pointer) {
    struct claim claim;
    CUcontext context;
    CUdeviceptr base;
    size_t bytes;
    int card;
    if (result != CUDA_SUCCESS || pointer == NULL || !cards_of_current(&context, &card) ||
        DRIVER(cuMemGetAddressRange_v2)(&base, &bytes, *pointer) != CUDA_SUCCESS || imports_made_here(card, bytes)) {
        return result;
    }
    if (claim_card(&claim, context, card, bytes)) {
        return claim_end(&claim, result, LEDGER_EXTERNAL, *pointer);
    }
    DRIVER(cuIpcCloseMemHandle)(*pointer);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult hook_cuIpcOpenMemHandle(__typeof__(&cuIpcOpenMemHandle) driver, CUdeviceptr *pointer, CUipcMemHandle handle,
                                 unsigned int flags) {
    return opened(driver(pointer, handle, flags), pointer);
}

CUresult hook_cuIpcOpenMemHandle_v2(__typeof__(&cuIpcOpenMemHandle_v2) driver, CUdeviceptr *pointer,
                                    CUipcMemHandle handle, unsigned int flags) {
    return opened(driver(pointer, handle, flags), pointer);
}

CUresult hook_cuIpcCloseMemHandle(__typeof__(&cuIpcCloseMemHandle) driver, CUdeviceptr pointer) {
    struct ledger_entry entry;
    bool noted = ledger_remove(LEDGER_EXTERNAL, pointer, &entry);
    CUresult result = driver(pointer);
    if (noted && result == CUDA_SUCCESS) {
        claim_return(&entry);
    } else if (noted) {
        ledger_add(entry);
    }
    return result;
}
