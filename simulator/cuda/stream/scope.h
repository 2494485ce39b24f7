/* Everything that a context, or a green context, was given: events and waits for all of it. */
#ifndef UNIGPU_SIM_SCOPE_H
#define UNIGPU_SIM_SCOPE_H

#include "simulator/cuda/stream/stream.h"

typedef struct scope {
    CUcontext context;
    CUgreenCtx green; /* NULL: all of the context, its green contexts included */
    CUstream *marks;
} scope;

CUresult scope_record(const scope *all, CUevent event);
CUresult scope_wait(const scope *all, CUevent event);
CUresult scope_synchronize(const scope *all);
/* Lets a new stream wait for what its scope waits for. */
CUresult scope_join(const scope *all, CUstream stream);

#endif
