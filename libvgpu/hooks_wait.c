/* Waiting for the card: what was freed in the order of streams has gone back to it by then. */
#include "hooks.h"
#include "reserves.h"

static CUresult waited(CUresult result) {
    reserves_settle();
    return result;
}

CUresult hook_cuCtxSynchronize(__typeof__(&cuCtxSynchronize) driver) {
    return waited(driver());
}

CUresult hook_cuEventSynchronize(__typeof__(&cuEventSynchronize) driver, CUevent event) {
    return waited(driver(event));
}

CUresult hook_cuStreamSynchronize(__typeof__(&cuStreamSynchronize) driver, CUstream stream) {
    return waited(driver(stream));
}
