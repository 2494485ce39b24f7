/* Kernel launches. They are checked as on a real GPU; no instruction of the kernel runs. */
#include "simulator/cuda/module/launch.h"

#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/module/code.h"
#include "simulator/cuda/module/library.h"
#include "simulator/cuda/stream/green.h"
#include "simulator/cuda/stream/queue.h"

enum { WAVE_NS = 3000, START_NS = 2000 };

/* The function that a handle means: itself, or a library's kernel in this context. */
static CUfunction function_of(CUfunction handle, CUcontext current) {
    if (object_is(handle, KIND_KERNEL)) {
        return kernel_in((CUkernel)handle, current);
    }
    return object_is(handle, KIND_FUNCTION) ? handle : NULL;
}

static CUresult check(const op *work, CUcontext current) {
    CUfunction function = work->as.kernel.function;
    const unsigned *grid = work->as.kernel.grid, *block = work->as.kernel.block;
    NEED(function->module->context == current, CUDA_ERROR_INVALID_HANDLE);
    for (int axis = 0; axis < 3; axis++) {
        NEED(grid[axis] && block[axis], CUDA_ERROR_INVALID_VALUE);
    }
    NEED(grid[0] <= 2147483647U && grid[1] <= 65535 && grid[2] <= 65535, CUDA_ERROR_INVALID_VALUE);
    NEED(block[0] <= 1024 && block[1] <= 1024 && block[2] <= 64, CUDA_ERROR_INVALID_VALUE);
    unsigned threads = block[0] * block[1] * block[2];
    unsigned declared = function->block_threads ? (unsigned)function->block_threads : 1024;
    NEED(threads <= 1024 && threads <= declared, CUDA_ERROR_INVALID_VALUE);
    NEED(threads <= (unsigned)function_most_threads(function), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    NEED(work->as.kernel.shared <= (unsigned)function->max_dynamic_shared, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(code_load(function));
    return context_need_stack(current, function->local_bytes);
}

/* Blocks that a multiprocessor holds at most, whatever their size. */
static uint64_t most_blocks(const sim_profile *profile) {
    if (profile->threads_per_multiprocessor > 1536) {
        return 32;
    }
    bool few = profile->threads_per_multiprocessor <= 1024 || (profile->major == 8 && profile->minor == 6);
    return few ? 16 : 24;
}

/* Blocks of this shape that so many multiprocessors hold at once. */
static uint64_t blocks_at_once(const sim_profile *profile, unsigned threads, unsigned shared,
                               unsigned multiprocessors) {
    unsigned warps = (threads + 31) / 32 * 32;
    uint64_t each = (uint64_t)profile->threads_per_multiprocessor / warps;
    uint64_t most = most_blocks(profile);
    each = each < most ? each : most;
    uint64_t by_shared = (uint64_t)(profile->shared_kib_per_multiprocessor << 10) / (shared + 1024);
    each = each < by_shared ? each : by_shared;
    return (each ? each : 1) * multiprocessors;
}

int kernel_blocks_per_multiprocessor(CUfunction function, int threads, size_t shared) {
    const sim_profile *profile = function->module->context->device->profile;
    size_t fixed = (size_t)function->static_shared;
    bool opted_in = (size_t)function->max_dynamic_shared + fixed > DEFAULT_SHARED;
    size_t most = opted_in ? (size_t)profile->shared_kib_optin << 10 : DEFAULT_SHARED;
    if (shared + fixed > most || threads > function_most_threads(function)) {
        return 0;
    }
    return (int)blocks_at_once(profile, (unsigned)threads, (unsigned)(shared + fixed), 1);
}

/* The first parameter, as a number of nanoseconds; 0 without one. */
static uint64_t first_parameter(CUfunction function, void **parameters, void **extra) {
    uint64_t number = 0;
    void *values = function->parameter_count ? kernel_parameters(function, parameters, extra) : NULL;
    if (values) {
        memcpy(&number, values, sizeof number);
    }
    free(values);
    return number;
}

/* Computes how long a kernel takes on its part of the GPU, and how many lanes: `unigpu_spin` takes the whole part for the
 * time in its parameter. Other kernels take a time for each wave of blocks; for `unigpu_work` the parameter is
 * the time of a wave. */
static CUresult measure(op *work, void **parameters, void **extra, const sim_profile *profile, gpu_part part) {
    unsigned multiprocessors = part.multiprocessors ? part.multiprocessors : (unsigned)profile->multiprocessors;
    unsigned lanes = part.lanes ? (unsigned)__builtin_popcount(part.lanes) : SIM_LANES;
    work->as.kernel.part = part.lanes;
    CUfunction function = work->as.kernel.function;
    bool told = function->parameter_count && function->parameters[0].bytes == 8;
    if (told && strcmp(function->name, "unigpu_spin") == 0) {
        work->as.kernel.duration_ns = first_parameter(function, parameters, extra);
        work->as.kernel.lanes = lanes;
        return CUDA_SUCCESS;
    }
    const unsigned *grid = work->as.kernel.grid, *block = work->as.kernel.block;
    uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
    uint64_t room = blocks_at_once(profile, block[0] * block[1] * block[2],
                                   work->as.kernel.shared + (unsigned)function->static_shared, multiprocessors);
    NEED(!work->as.kernel.cooperative || blocks <= room, CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    uint64_t waves = (blocks + room - 1) / room;
    work->as.kernel.lanes = waves > 1 ? lanes : (unsigned)((blocks * lanes + room - 1) / room);
    if (told && strcmp(function->name, "unigpu_work") == 0) {
        uint64_t wave = first_parameter(function, parameters, extra);
        bool fits = !__builtin_mul_overflow(wave, waves, &work->as.kernel.duration_ns);
        NEED(fits, CUDA_ERROR_INVALID_VALUE);
    } else {
        work->as.kernel.duration_ns = START_NS + waves * WAVE_NS;
    }
    return CUDA_SUCCESS;
}

void *kernel_parameters(CUfunction function, void **parameters, void **extra) {
    size_t bytes = function->parameter_bytes;
    char *values = bytes ? calloc(1, bytes < 8 ? 8 : bytes) : NULL;
    if (!values) {
        return NULL;
    }
    if (parameters) {
        for (size_t i = 0; i < function->parameter_count; i++) {
            memcpy(values + function->parameters[i].offset, parameters[i], function->parameters[i].bytes);
        }
        return values;
    }
    const void *buffer = NULL;
    size_t size = 0;
    for (void **word = extra; word && *word != CU_LAUNCH_PARAM_END; word += 2) {
        if (*word == CU_LAUNCH_PARAM_BUFFER_POINTER) {
            buffer = word[1];
        } else if (*word == CU_LAUNCH_PARAM_BUFFER_SIZE) {
            size = *(size_t *)word[1];
        }
    }
    if (buffer) {
        memcpy(values, buffer, size < bytes ? size : bytes);
    }
    return values;
}

CUresult kernel_work(const CUDA_KERNEL_NODE_PARAMS *wanted, CUcontext current, gpu_part part, op *work) {
    CUfunction handle = wanted->function ? wanted->function : (CUfunction)wanted->kernel;
    *work = (op){.kind = OP_KERNEL,
                 .as.kernel = {.function = function_of(handle, current),
                               .grid = {wanted->grid_x, wanted->grid_y, wanted->grid_z},
                               .block = {wanted->block_x, wanted->block_y, wanted->block_z},
                               .shared = wanted->shared_bytes}};
    NEED(work->as.kernel.function, CUDA_ERROR_INVALID_HANDLE);
    NEED(!(wanted->parameters && wanted->extra), CUDA_ERROR_INVALID_VALUE);
    NEED(!work->as.kernel.function->parameter_count || wanted->parameters || wanted->extra, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(check(work, current));
    return measure(work, wanted->parameters, wanted->extra, current->device->profile, part);
}

static CUresult submit(const CUDA_KERNEL_NODE_PARAMS *wanted, CUstream handle, bool cooperative) {
    NEED_STREAM(stream, handle);
    op work;
    gpu_part part = stream_part(stream);
    NEED_OK(kernel_work(wanted, current, part, &work));
    if (cooperative) {
        work.as.kernel.cooperative = true;
        NEED_OK(measure(&work, wanted->parameters, wanted->extra, current->device->profile, part));
    }
    if (!stream->capture) {
        return stream_submit(stream, &work);
    }
    /* The graph's node keeps the values. */
    work.as.kernel.parameters = kernel_parameters(work.as.kernel.function, wanted->parameters, wanted->extra);
    CUresult result = stream_submit(stream, &work);
    free(work.as.kernel.parameters);
    return result;
}

CUresult cuLaunchKernel(CUfunction function, unsigned int grid_dim_x, unsigned int grid_dim_y, unsigned int grid_dim_z,
                        unsigned int block_dim_x, unsigned int block_dim_y, unsigned int block_dim_z,
                        unsigned int shared_mem_bytes, CUstream stream, void **kernel_params, void **extra) {
    CUDA_KERNEL_NODE_PARAMS wanted = {function,      grid_dim_x,  grid_dim_y,  grid_dim_z,
                                      block_dim_x,   block_dim_y, block_dim_z, shared_mem_bytes,
                                      kernel_params, extra,       NULL,        NULL};
    return submit(&wanted, stream, false);
}

CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned int grid_dim_x, unsigned int grid_dim_y,
                                   unsigned int grid_dim_z, unsigned int block_dim_x, unsigned int block_dim_y,
                                   unsigned int block_dim_z, unsigned int shared_mem_bytes, CUstream stream,
                                   void **kernel_params) {
    CUDA_KERNEL_NODE_PARAMS wanted = {function,      grid_dim_x,  grid_dim_y,  grid_dim_z,
                                      block_dim_x,   block_dim_y, block_dim_z, shared_mem_bytes,
                                      kernel_params, NULL,        NULL,        NULL};
    return submit(&wanted, stream, true);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **kernel_params, void **extra) {
    NEED_DRIVER();
    NEED(config && (config->attribute_count == 0 || config->attributes), CUDA_ERROR_INVALID_VALUE);
    bool cooperative = false;
    for (unsigned i = 0; i < config->attribute_count; i++) {
        if (config->attributes[i].id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) {
            cooperative = config->attributes[i].value.cooperative;
        }
    }
    CUDA_KERNEL_NODE_PARAMS wanted = {function,
                                      config->grid_x,
                                      config->grid_y,
                                      config->grid_z,
                                      config->block_x,
                                      config->block_y,
                                      config->block_z,
                                      config->shared_bytes,
                                      kernel_params,
                                      extra,
                                      NULL,
                                      NULL};
    return submit(&wanted, config->stream, cooperative);
}
