/* The launch functions. For each entry point that is tagged LAUNCH, `key_<symbol>` makes the key of its cost from the
 * arguments, `stream_<symbol>` returns the stream, and `run_<symbol>` calls the driver, with more around it where need
 * be. */
#ifndef UNIGPU_HOOKS_LAUNCHES_H
#define UNIGPU_HOOKS_LAUNCHES_H

#include "libvgpu/compute/launch.h"
#include "libvgpu/hooks/hooks.h"

static inline struct cost_key key_cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                                 unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                                                 CUstream stream, void **parameters, void **extra) {
    (void)stream, (void)parameters, (void)extra;
    return cost_key_of_kernel(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared);
}

static inline CUstream stream_cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                             unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                                             CUstream stream, void **parameters, void **extra) {
    (void)function, (void)grid_x, (void)grid_y, (void)grid_z, (void)block_x, (void)block_y, (void)block_z;
    (void)shared, (void)parameters, (void)extra;
    return stream;
}

static inline struct cost_key key_cuLaunchCooperativeKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                                            unsigned grid_z, unsigned block_x, unsigned block_y,
                                                            unsigned block_z, unsigned shared, CUstream stream,
                                                            void **parameters) {
    (void)stream, (void)parameters;
    return cost_key_of_kernel(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared);
}

static inline CUstream stream_cuLaunchCooperativeKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                                        unsigned grid_z, unsigned block_x, unsigned block_y,
                                                        unsigned block_z, unsigned shared, CUstream stream,
                                                        void **parameters) {
    return stream_cuLaunchKernel(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared, stream,
                                 parameters, NULL);
}

/* Without a configuration the driver refuses the call. */
static inline struct cost_key key_cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **parameters,
                                                   void **extra) {
    (void)parameters, (void)extra;
    if (config == NULL) {
        return cost_key_of_kernel(function, 0, 0, 0, 0, 0, 0, 0);
    }
    return cost_key_of_kernel(function, config->grid_x, config->grid_y, config->grid_z, config->block_x,
                              config->block_y, config->block_z, config->shared_bytes);
}

static inline CUstream stream_cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **parameters,
                                               void **extra) {
    (void)function, (void)parameters, (void)extra;
    return config != NULL ? config->stream : NULL;
}

/* Functions of the first CUDA versions. The block's shape was set by earlier calls and isn't known. */
static inline struct cost_key key_cuLaunch(CUfunction function) {
    return cost_key_of_kernel(function, 1, 1, 0, 0, 0, 0, 0);
}

static inline CUstream stream_cuLaunch(CUfunction function) {
    (void)function;
    return NULL;
}

static inline struct cost_key key_cuLaunchGrid(CUfunction function, int grid_width, int grid_height) {
    return cost_key_of_kernel(function, (unsigned)grid_width, (unsigned)grid_height, 0, 0, 0, 0, 0);
}

static inline CUstream stream_cuLaunchGrid(CUfunction function, int grid_width, int grid_height) {
    (void)function, (void)grid_width, (void)grid_height;
    return NULL;
}

static inline struct cost_key key_cuLaunchGridAsync(CUfunction function, int grid_width, int grid_height,
                                                    CUstream stream) {
    (void)stream;
    return key_cuLaunchGrid(function, grid_width, grid_height);
}

static inline CUstream stream_cuLaunchGridAsync(CUfunction function, int grid_width, int grid_height, CUstream stream) {
    (void)function, (void)grid_width, (void)grid_height;
    return stream;
}

static inline struct cost_key key_cuGraphLaunch(CUgraphExec graph_exec, CUstream stream) {
    (void)stream;
    return cost_key_of_graph(graph_exec);
}

static inline CUstream stream_cuGraphLaunch(CUgraphExec graph_exec, CUstream stream) {
    (void)graph_exec;
    return stream;
}

#define run_cuLaunchKernel(driver, ...) driver(__VA_ARGS__)
#define run_cuLaunchCooperativeKernel(driver, ...) driver(__VA_ARGS__)
#define run_cuLaunchKernelEx(driver, ...) driver(__VA_ARGS__)
#define run_cuLaunch(driver, ...) driver(__VA_ARGS__)
#define run_cuLaunchGrid(driver, ...) driver(__VA_ARGS__)
#define run_cuLaunchGridAsync(driver, ...) driver(__VA_ARGS__)
CUresult run_cuGraphLaunch(__typeof__(&cuGraphLaunch) driver, CUgraphExec graph_exec, CUstream stream);

#endif
