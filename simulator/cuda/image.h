#ifndef UNIGPU_SIM_IMAGE_H
#define UNIGPU_SIM_IMAGE_H

#include "simulator/cuda/driver.h"

/* Bytes of an image, read from its own headers; 0: no form known. A text's ends with its zero. */
size_t image_size(const void *image);
void *image_copy(const void *image);
/* A whole file, with a zero after it; NULL: cannot be read. */
char *file_read(const char *path);

/* A module of the context, from an image of any form. */
CUresult module_load(CUcontext context, const void *image, CUmodule *module);

CUresult ptx_read(CUmodule module, const char *text);
CUresult elf_read(CUmodule module, const void *image);

/* For readers: adds a kernel, or a global, by name. */
CUresult module_add_function(CUmodule module, const char *name, size_t length, CUfunction *made);
CUresult module_add_global(CUmodule module, const char *name, size_t length, size_t bytes);

#endif
