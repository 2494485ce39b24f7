/* Synchronization with the GPU. Memory that was freed in stream order has returned to the GPU by then. A thread that waits
 * may not launch for long, so it reports what it has launched. */
#include "libvgpu/compute/launch_thread.h"
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/pools.h"

static CUresult waited(CUresult result) {
    pools_settle();
    launch_tell_mine();
    return result;
}

CUresult hook_cuCtxSynchronize(__typeof__(&cuCtxSynchronize) driver) {
    return waited(driver());
}

CUresult hook_cuCtxSynchronize_v2(__typeof__(&cuCtxSynchronize_v2) driver, CUcontext context) {
    return waited(driver(context));
}

CUresult hook_cuEventSynchronize(__typeof__(&cuEventSynchronize) driver, CUevent event) {
    return waited(driver(event));
}

CUresult hook_cuStreamSynchronize(__typeof__(&cuStreamSynchronize) driver, CUstream stream) {
    return waited(driver(stream));
}
