/* Images of modules, in whichever form. */
#ifndef UNIGPU_SIM_IMAGE_H
#define UNIGPU_SIM_IMAGE_H

#include "simulator/cuda/module/symbols.h"

/* Reads kernels and globals out of an image into the module; INVALID_IMAGE or INVALID_PTX when the form is unknown. */
CUresult image_read(CUmodule module, const void *image);
/* Bytes of an image, read from its own headers; 0: unknown form. The size of a text includes its final zero. */
size_t image_size(const void *image);
void *image_copy(const void *image);
/* Reads a whole file and puts a zero after it; NULL: cannot be read. */
char *file_read(const char *path);

#endif
