/* Stream capture. A launch into a captured stream runs, and is charged, when its graph is launched. */
#include "libvgpu/compute/captures.h"
#include "libvgpu/compute/launch_run.h"
#include "libvgpu/hooks/hooks.h"

/* The run that this thread measures must end before its stream is captured. */
#define BEGIN(stream, call)             \
    do {                                \
        launch_close_run();             \
        captures_begin(stream);         \
        CUresult result = call;         \
        captures_begun(stream, result); \
        return result;                  \
    } while (0)

CUresult hook_cuStreamBeginCapture(__typeof__(&cuStreamBeginCapture) driver, CUstream stream) {
    BEGIN(stream, driver(stream));
}

CUresult hook_cuStreamBeginCapture_v2(__typeof__(&cuStreamBeginCapture_v2) driver, CUstream stream,
                                      CUstreamCaptureMode mode) {
    BEGIN(stream, driver(stream, mode));
}

CUresult hook_cuStreamBeginCaptureToGraph(__typeof__(&cuStreamBeginCaptureToGraph) driver, CUstream stream,
                                          CUgraph graph, const CUgraphNode *dependencies,
                                          const CUgraphEdgeData *dependency_data, size_t dependencie_count,
                                          CUstreamCaptureMode mode) {
    BEGIN(stream, driver(stream, graph, dependencies, dependency_data, dependencie_count, mode));
}

CUresult hook_cuStreamBeginRecaptureToGraph(__typeof__(&cuStreamBeginRecaptureToGraph) driver, CUstream stream,
                                            CUstreamCaptureMode mode, CUgraph graph, CUgraphRecaptureCallback callback,
                                            void *user_data) {
    BEGIN(stream, driver(stream, mode, graph, callback, user_data));
}

CUresult hook_cuStreamBeginCaptureToCig(__typeof__(&cuStreamBeginCaptureToCig) driver, CUstream stream,
                                        CUstreamCigCaptureParams *capture_params) {
    BEGIN(stream, driver(stream, capture_params));
}

/* A capture that failed also ends here. One that belongs to another thread or stream does not. */
static CUresult end(CUstream stream, CUresult result) {
    if (!captures_stream(stream)) {
        captures_end(stream);
    }
    return result;
}

CUresult hook_cuStreamEndCapture(__typeof__(&cuStreamEndCapture) driver, CUstream stream, CUgraph *graph) {
    return end(stream, driver(stream, graph));
}

CUresult hook_cuStreamEndCaptureToCig(__typeof__(&cuStreamEndCaptureToCig) driver, CUstream stream) {
    return end(stream, driver(stream));
}

/* Destroying a stream ends its capture. */
CUresult hook_cuStreamDestroy(__typeof__(&cuStreamDestroy) driver, CUstream stream) {
    CUresult result = driver(stream);
    if (result == CUDA_SUCCESS && captures_any()) {
        captures_end(stream);
    }
    return result;
}

CUresult hook_cuStreamDestroy_v2(__typeof__(&cuStreamDestroy_v2) driver, CUstream stream) {
    CUresult result = driver(stream);
    if (result == CUDA_SUCCESS && captures_any()) {
        captures_end(stream);
    }
    return result;
}
