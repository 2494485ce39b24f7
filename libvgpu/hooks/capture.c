/* Stream capture. A launch into a captured stream runs, and is charged, when its graph is launched. */
#include "libvgpu/compute/captures.h"
#include "libvgpu/compute/launch.h"
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

/* A capture that failed also ends here. One that belongs to another thread or stream does not. */
CUresult hook_cuStreamEndCapture(__typeof__(&cuStreamEndCapture) driver, CUstream stream, CUgraph *graph) {
    CUresult result = driver(stream, graph);
    if (!captures_stream(stream)) {
        captures_end(stream);
    }
    return result;
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
