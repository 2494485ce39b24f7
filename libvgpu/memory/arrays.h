/* Memory of arrays: its size follows from their form, with rows as the driver may align them. */
#ifndef UNIGPU_MEMORY_ARRAYS_H
#define UNIGPU_MEMORY_ARRAYS_H

#include "libvgpu/memory/reservation.h"

struct array_reservation {
    struct reservation reservation;
    uint64_t bytes;
};

/* Takes what an array of that form and number of levels needs, in the calling thread's context; false: refused. */
bool array_begin(struct array_reservation *array, const CUDA_ARRAY3D_DESCRIPTOR *form, unsigned levels);

/* Notes it under its handle if the driver made it, else gives back; answers the driver's result. */
CUresult array_end(struct array_reservation *array, CUresult result, const void *handle);

#endif
