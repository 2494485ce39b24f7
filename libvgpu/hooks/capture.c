/* Captures: what is launched into a stream that is being captured runs when its graph does, and is counted there. */
#include "libvgpu/compute/captures.h"
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/compute/launch.h"

/* The run that this thread is measuring ends before its stream is captured. */
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

/* Also a capture that went wrong ends here; one that belongs to another thread or stream does not. */
CUresult hook_cuStreamEndCapture(__typeof__(&cuStreamEndCapture) driver, CUstream stream, CUgraph *graph) {
    CUresult result = driver(stream, graph);
    if (!captures_stream(stream)) {
        captures_end(stream);
    }
    return result;
}

/* A stream that goes takes its capture along. */
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
