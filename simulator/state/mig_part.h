/* A GPU instance of MIG, as the machine's state holds it. */
#ifndef UNIGPU_SIM_MIG_PART_H
#define UNIGPU_SIM_MIG_PART_H

#include <stdint.h>

enum {
    SIM_INSTANCES = 7, /* compute instances in a GPU instance, and GPU instances on a GPU */
    SIM_PARTS = 15, /* numbers of GPU instances: one whole, two halves, four quarters, eight eighths */
};

/* A GPU instance. Its number, which is its place in the table, says which slices of memory it has. */
typedef struct sim_part {
    uint32_t kind; /* place among the kinds of its GPU, from 1 on; 0: there is no such instance */
    uint32_t compute[SIM_INSTANCES]; /* slices of each compute instance, by its number; 0: there is none */
    uint32_t start[SIM_INSTANCES]; /* the first slice of each */
} sim_part;

#endif
