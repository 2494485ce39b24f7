/* MIG: the parts into which a GPU can be cut. A GPU instance has slices of memory and of multiprocessors; compute instances share
 * its slices of multiprocessors. Programs can't use one: NVML tells of them, and makes and ends them. */
#ifndef UNIGPU_SIM_INSTANCES_H
#define UNIGPU_SIM_INSTANCES_H

#include "simulator/state/state.h"

enum {
    SIM_NO_PART = -1, /* no such part, or what was asked for is already taken */
    SIM_ANY_START = -1, /* wherever it leaves the most room for others */
};

/* A compute instance, which is a MIG device, with the GPU instance that it is in. */
typedef struct sim_instance {
    const sim_mig_kind *kind;
    unsigned id, compute_id;
    unsigned start, slices; /* of multiprocessors, in its GPU instance */
    unsigned multiprocessors;
    uint64_t memory; /* MiB, of the GPU instance */
    char name[32]; /* as 3g.20gb */
} sim_instance;

/* The kind at a place among those of a GPU; NULL: there are no more. */
const sim_mig_kind *sim_mig_kind_at(const sim_profile *profile, unsigned place);
/* MiB that an instance of the kind has. */
uint64_t sim_mig_memory(const sim_profile *profile, const sim_mig_kind *kind);
unsigned sim_mig_compute_multiprocessors(const sim_profile *profile, const sim_mig_kind *kind, unsigned slices);
/* The name of a kind, or of a compute instance of so many slices in one. */
void sim_mig_name(const sim_profile *profile, const sim_mig_kind *kind, unsigned slices, char name[32]);

/* Where instances of a kind can lie: the first slices; returns how many. */
unsigned sim_mig_starts(const sim_profile *profile, const sim_mig_kind *kind, unsigned starts[SIM_PARTS]);
/* Where compute instances of so many slices can lie in a GPU instance of a kind. */
unsigned sim_compute_starts(const sim_mig_kind *kind, unsigned slices, unsigned starts[SIM_INSTANCES]);
/* Whether a GPU instance can have compute instances of so many slices. */
bool sim_is_compute_size(const sim_mig_kind *kind, unsigned slices);

/* The kind of a GPU instance, or NULL if there is none with this number, and its first slice of memory. */
const sim_mig_kind *sim_part_at(const sim_gpu *gpu, unsigned id);
unsigned sim_part_start(const sim_profile *profile, const sim_mig_kind *kind, unsigned id);
/* How many more of a kind fit. */
unsigned sim_parts_left(const sim_gpu *gpu, unsigned place);
unsigned sim_compute_left(const sim_gpu *gpu, unsigned id, unsigned slices);

/* Make and end instances. Return the number of the new one, or SIM_NO_PART. */
int sim_part_make(sim_machine *machine, uint32_t gpu, unsigned place, int start);
int sim_compute_make(sim_machine *machine, uint32_t gpu, unsigned id, unsigned slices, int start);
/* False: compute instances are still in it. */
bool sim_part_end(sim_machine *machine, uint32_t gpu, unsigned id);
void sim_compute_end(sim_machine *machine, uint32_t gpu, unsigned id, unsigned compute_id);
void sim_parts_clear(sim_gpu *gpu);

/* What the compute instance with these numbers is; false: there is none. */
bool sim_instance_at(const sim_gpu *gpu, unsigned id, unsigned compute_id, sim_instance *found);
/* The one at a place in the order of their numbers, from 0 on; false: there are fewer. */
bool sim_instance_nth(const sim_gpu *gpu, unsigned index, sim_instance *found);
/* Makes GPU instances of so many slices, each with a compute instance that fills it, in place of those that there are; false: they
 * don't fit, or MIG mode is off. */
bool sim_instances_set(sim_machine *machine, uint32_t gpu, const unsigned *sizes, unsigned count);

#endif
