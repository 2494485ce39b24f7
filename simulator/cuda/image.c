/* Which form a module's image has. */
#include <ctype.h>
#include <string.h>

#include "simulator/cuda/driver.h"

CUresult ptx_read(CUmodule module, const char *text);

static bool is_text(const char *image) {
    while (isspace((unsigned char)*image)) {
        image++;
    }
    return *image == '.' || *image == '/';
}

CUresult image_read(CUmodule module, const void *image) {
    return is_text(image) ? ptx_read(module, image) : CUDA_ERROR_INVALID_IMAGE;
}
