/* The linker: PTX texts are joined; of other inputs the last one is the result. */
#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/module/image.h"

struct CUlinkState_st {
    object object;
    char *result;
    size_t size;
    bool text;
};

CUresult cuLinkCreate_v2(unsigned int option_count, CUjit_option *options, void **option_values,
                         CUlinkState *state_out) {
    NEED_CONTEXT(current);
    NEED(state_out && (option_count == 0 || (options && option_values)), CUDA_ERROR_INVALID_VALUE);
    *state_out = object_new(KIND_LINK, sizeof **state_out);
    return *state_out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void *data, size_t size, const char *name,
                          unsigned int option_count, CUjit_option *options, void **option_values) {
    (void)name, (void)option_count, (void)options, (void)option_values;
    NEED_DRIVER();
    NEED(object_is(state, KIND_LINK), CUDA_ERROR_INVALID_HANDLE);
    NEED(data && size, CUDA_ERROR_INVALID_VALUE);
    NEED(type == CU_JIT_INPUT_PTX || type == CU_JIT_INPUT_CUBIN || type == CU_JIT_INPUT_FATBINARY,
         CUDA_ERROR_INVALID_VALUE);
    bool text = type == CU_JIT_INPUT_PTX;
    size_t before = text && state->text ? state->size : 0;
    size_t length = text ? strnlen(data, size) : size;
    char *grown = realloc(state->result, before + length + 2);
    NEED(grown, CUDA_ERROR_OUT_OF_MEMORY);
    memcpy(grown + before, data, length);
    memcpy(grown + before + length, text ? "\n" : "\0", 2);
    state->result = grown;
    state->size = before + length + (text ? 1 : 0);
    state->text = text;
    return CUDA_SUCCESS;
}

CUresult cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char *path, unsigned int option_count,
                          CUjit_option *options, void **option_values) {
    NEED(path, CUDA_ERROR_INVALID_VALUE);
    char *image = file_read(path);
    NEED(image, CUDA_ERROR_FILE_NOT_FOUND);
    size_t size = image_size(image);
    CUresult result = cuLinkAddData_v2(state, type, image, size ? size : 1, path, option_count, options, option_values);
    free(image);
    return result;
}

CUresult cuLinkComplete(CUlinkState state, void **cubin_out, size_t *size_out) {
    NEED_DRIVER();
    NEED(object_is(state, KIND_LINK), CUDA_ERROR_INVALID_HANDLE);
    NEED(cubin_out && state->result, CUDA_ERROR_INVALID_VALUE);
    *cubin_out = state->result;
    if (size_out) {
        *size_out = state->size + (state->text ? 1 : 0);
    }
    return CUDA_SUCCESS;
}

CUresult cuLinkDestroy(CUlinkState state) {
    NEED_DRIVER();
    NEED(object_is(state, KIND_LINK), CUDA_ERROR_INVALID_HANDLE);
    free(state->result);
    object_end(state);
    return CUDA_SUCCESS;
}
