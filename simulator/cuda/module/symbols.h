/* Modules: kernels and globals by name. */
#ifndef UNIGPU_SIM_SYMBOLS_H
#define UNIGPU_SIM_SYMBOLS_H

#include "simulator/cuda/core/context.h"

enum { DEFAULT_SHARED = 48 << 10 }; /* bytes of shared memory that a block has without opting in to more */

struct CUfunc_st {
    object object;
    CUmodule module;
    char *name;
    size_t parameter_count;
    size_t parameter_bytes;
    struct {
        size_t offset, bytes;
    } parameters[64];
    int max_dynamic_shared;
    /* Of its code, or of its declarations, for a PTX text, which says nothing of registers: */
    int static_shared, constant_bytes;
    size_t local_bytes; /* of stack, for each thread */
    int registers;      /* of each thread */
    int block_threads;  /* at most, as its author declares; 0: as many as fit */
    size_t code_bytes;  /* 0 for a PTX text */
    bool code_loaded;
    struct CUfunc_st *next;
};

typedef struct global {
    char *name;
    size_t bytes;
    CUdeviceptr pointer;
    struct global *next;
} global;

struct CUmod_st {
    object object;
    CUcontext context;
    CUfunction functions;
    global *globals;
    struct CUmod_st *next;
};

/* Threads that a block of it has at most: by the GPU, by its author, and by its registers. */
int function_most_threads(const struct CUfunc_st *function);
/* Sets its static shared memory, which takes from what a launch may ask for. */
void function_set_shared(CUfunction function, size_t bytes);
/* Adds a kernel, or a global, whose memory comes when the module is loaded. */
CUresult module_add_function(CUmodule module, const char *name, size_t length, CUfunction *made);
CUresult module_add_global(CUmodule module, const char *name, size_t length, size_t bytes);
/* Ends a module that is in no context's list. */
void module_end(CUmodule module);

#endif
