/* Memory of arrays. Its size follows from the array's form, with rows aligned as the driver may align them. */
#ifndef UNIGPU_MEMORY_ARRAYS_H
#define UNIGPU_MEMORY_ARRAYS_H

#include "libvgpu/memory/reservation.h"

struct array_reservation {
    struct reservation reservation;
    uint64_t bytes;
};

/* Reserves memory for an array of that form and number of levels, in the calling thread's context; false: refused. */
bool array_begin(struct array_reservation *array, const CUDA_ARRAY3D_DESCRIPTOR *form, unsigned levels);

/* Notes the array under its handle, or cancels the reservation where the driver failed. Returns the driver's result. */
CUresult array_end(struct array_reservation *array, CUresult result, const void *handle);

#endif
