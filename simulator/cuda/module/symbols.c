/* The symbols of a module: its kernels and globals, by name. */
#include "simulator/cuda/module/symbols.h"

#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/memory/heap.h"

enum { UNKNOWN_REGISTERS = 32, GPU_REGISTERS = 65536, MOST_THREADS = 1024, WARP = 32, REGISTER_STEP = 8 };

int function_most_threads(const struct CUfunc_st *function) {
    int each = (int)ROUND_UP((unsigned)function->registers, REGISTER_STEP);
    int by_registers = GPU_REGISTERS / (each * WARP) * WARP;
    int most = by_registers < MOST_THREADS ? by_registers : MOST_THREADS;
    return function->block_threads && function->block_threads < most ? function->block_threads : most;
}

void function_set_shared(CUfunction function, size_t bytes) {
    function->static_shared = (int)bytes;
    function->max_dynamic_shared = bytes < DEFAULT_SHARED ? DEFAULT_SHARED - (int)bytes : 0;
}

void module_end(CUmodule module) {
    while (module->functions) {
        CUfunction function = module->functions;
        module->functions = function->next;
        free(function->name);
        object_end(function);
    }
    while (module->globals) {
        global *gone = module->globals;
        module->globals = gone->next;
        if (gone->pointer) {
            heap_free(gone->pointer);
        }
        free(gone->name);
        free(gone);
    }
    object_end(module);
}

CUresult module_add_function(CUmodule module, const char *name, size_t length, CUfunction *made) {
    CUfunction added = object_new(KIND_FUNCTION, sizeof *added);
    NEED(added, CUDA_ERROR_OUT_OF_MEMORY);
    added->module = module;
    added->max_dynamic_shared = DEFAULT_SHARED;
    added->registers = UNKNOWN_REGISTERS;
    added->next = module->functions;
    module->functions = added;
    added->name = strndup(name, length);
    *made = added;
    return added->name ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult module_add_global(CUmodule module, const char *name, size_t length, size_t bytes) {
    global *added = calloc(1, sizeof *added);
    NEED(added, CUDA_ERROR_OUT_OF_MEMORY);
    added->name = strndup(name, length);
    added->bytes = bytes;
    added->next = module->globals;
    module->globals = added;
    return added->name ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
