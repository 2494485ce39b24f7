/* MIG instances. Their numbers and places are those of real drivers: the number of a GPU instance says which slices of memory it
 * has, and a new one goes where it leaves the most room for others. */
#include "simulator/state/instances.h"

#include <stdio.h>
#include <string.h>

enum { KEPT_MIB = 256, KEPT_MORE_MIB = 128 };

const sim_mig_kind *sim_mig_kind_at(const sim_profile *profile, unsigned place) {
    for (unsigned i = 0; profile->mig_kinds && profile->mig_kinds[i].slices; i++) {
        if (i == place) {
            return &profile->mig_kinds[i];
        }
    }
    return NULL;
}

/* Slices of memory that the GPU has: one more than of multiprocessors where those are seven. */
static unsigned all_slices(const sim_profile *profile) {
    return profile->mig_slices == SIM_INSTANCES ? SIM_INSTANCES + 1 : (unsigned)profile->mig_slices;
}

uint64_t sim_mig_memory(const sim_profile *profile, const sim_mig_kind *kind) {
    uint64_t kept = KEPT_MIB + KEPT_MORE_MIB * (uint64_t)(31 - __builtin_clz(kind->memory));
    return (uint64_t)profile->memory_mib * kind->memory / all_slices(profile) - kept;
}

unsigned sim_mig_compute_multiprocessors(const sim_profile *profile, const sim_mig_kind *kind, unsigned slices) {
    return slices == kind->slices ? kind->multiprocessors : slices * (unsigned)profile->mig_multiprocessors;
}

void sim_mig_name(const sim_profile *profile, const sim_mig_kind *kind, unsigned slices, char name[32]) {
    char part[8] = "";
    if (slices != kind->slices) {
        snprintf(part, sizeof part, "%uc.", slices);
    }
    unsigned gigabytes = (unsigned)((sim_mig_memory(profile, kind) + 1023) / 1024);
    snprintf(name, 32, "%s%ug.%ugb%s", part, kind->slices, gigabytes, kind->suffix);
}

unsigned sim_mig_starts(const sim_profile *profile, const sim_mig_kind *kind, unsigned starts[SIM_PARTS]) {
    unsigned count = 0;
    for (unsigned start = 0; start + kind->memory <= all_slices(profile); start += kind->memory) {
        if (start + kind->slices <= (unsigned)profile->mig_slices) { /* the last slice is one of memory alone */
            starts[count++] = start;
        }
    }
    return count;
}

bool sim_is_compute_size(const sim_mig_kind *kind, unsigned slices) {
    return slices == kind->slices || (slices < kind->slices && slices >= 1 && slices <= 4);
}

unsigned sim_compute_starts(const sim_mig_kind *kind, unsigned slices, unsigned starts[SIM_INSTANCES]) {
    unsigned step = slices == 3 ? 4 : slices, count = 0;
    for (unsigned start = 0; start + slices <= kind->slices; start += step) {
        starts[count++] = start;
    }
    return count;
}

/* Numbers go from the whole GPU over its halves and quarters to its eighths. */
static unsigned number_of(const sim_profile *profile, const sim_mig_kind *kind, unsigned start) {
    return all_slices(profile) / kind->memory - 1 + start / kind->memory;
}

unsigned sim_part_start(const sim_profile *profile, const sim_mig_kind *kind, unsigned id) {
    return (id - number_of(profile, kind, 0)) * kind->memory;
}

const sim_mig_kind *sim_part_at(const sim_gpu *gpu, unsigned id) {
    if (id >= SIM_PARTS || !gpu->settings.mig) {
        return NULL;
    }
    uint32_t kind = __atomic_load_n(&gpu->settings.parts[id].kind, __ATOMIC_ACQUIRE);
    return kind ? sim_mig_kind_at(&sim_profiles[gpu->profile], kind - 1) : NULL;
}

static unsigned span(unsigned start, unsigned size) {
    return ((1U << size) - 1) << start;
}

/* The slices of memory that are taken, a bit for each. */
static unsigned taken(const sim_gpu *gpu) {
    const sim_profile *profile = &sim_profiles[gpu->profile];
    unsigned found = 0;
    for (unsigned id = 0; id < SIM_PARTS; id++) {
        const sim_mig_kind *kind = sim_part_at(gpu, id);
        found |= kind ? span(sim_part_start(profile, kind, id), kind->memory) : 0;
    }
    return found;
}

static unsigned count_of(const sim_gpu *gpu, unsigned place) {
    unsigned found = 0;
    for (unsigned id = 0; id < SIM_PARTS; id++) {
        found += sim_part_at(gpu, id) && gpu->settings.parts[id].kind == place + 1;
    }
    return found;
}

/* How many instances of a kind fit next to what is taken. */
static unsigned fitting(const sim_profile *profile, const sim_mig_kind *kind, unsigned slices) {
    unsigned starts[SIM_PARTS], count = sim_mig_starts(profile, kind, starts), found = 0;
    for (unsigned i = 0; i < count; i++) {
        found += !(slices & span(starts[i], kind->memory));
    }
    return found;
}

unsigned sim_parts_left(const sim_gpu *gpu, unsigned place) {
    const sim_profile *profile = &sim_profiles[gpu->profile];
    const sim_mig_kind *kind = sim_mig_kind_at(profile, place);
    unsigned fit = fitting(profile, kind, taken(gpu)), left = kind->most - count_of(gpu, place);
    return fit < left ? fit : left;
}

/* Chances that are left for instances of every kind. */
static unsigned chances(const sim_profile *profile, unsigned slices) {
    unsigned found = 0;
    const sim_mig_kind *kind;
    for (unsigned place = 0; (kind = sim_mig_kind_at(profile, place)); place++) {
        found += fitting(profile, kind, slices);
    }
    return found;
}

/* The first slice for a new instance. */
static int best_start(const sim_gpu *gpu, const sim_mig_kind *kind, int wanted) {
    const sim_profile *profile = &sim_profiles[gpu->profile];
    unsigned starts[SIM_PARTS], count = sim_mig_starts(profile, kind, starts), slices = taken(gpu);
    int best = SIM_NO_PART;
    unsigned most = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned own = span(starts[i], kind->memory), left = chances(profile, slices | own);
        bool allowed = !(slices & own) && (wanted == SIM_ANY_START || (unsigned)wanted == starts[i]);
        if (allowed && (best == SIM_NO_PART || left > most)) {
            best = (int)starts[i];
            most = left;
        }
    }
    return best;
}

static int make_part(sim_gpu *gpu, unsigned place, int start) {
    const sim_profile *profile = &sim_profiles[gpu->profile];
    const sim_mig_kind *kind = sim_mig_kind_at(profile, place);
    int at = kind && gpu->settings.mig && sim_parts_left(gpu, place) ? best_start(gpu, kind, start) : SIM_NO_PART;
    if (at == SIM_NO_PART) {
        return SIM_NO_PART;
    }
    unsigned id = number_of(profile, kind, (unsigned)at);
    sim_part *part = &gpu->settings.parts[id];
    memset(part, 0, sizeof *part);
    __atomic_store_n(&part->kind, place + 1, __ATOMIC_RELEASE);
    return (int)id;
}

static unsigned compute_taken(const sim_part *part) {
    unsigned found = 0;
    for (unsigned i = 0; i < SIM_INSTANCES; i++) {
        found |= part->compute[i] ? span(part->start[i], part->compute[i]) : 0;
    }
    return found;
}

unsigned sim_compute_left(const sim_gpu *gpu, unsigned id, unsigned slices) {
    const sim_mig_kind *kind = sim_part_at(gpu, id);
    unsigned starts[SIM_INSTANCES], count = kind ? sim_compute_starts(kind, slices, starts) : 0, found = 0;
    for (unsigned i = 0; i < count; i++) {
        found += !(compute_taken(&gpu->settings.parts[id]) & span(starts[i], slices));
    }
    return found;
}

static int make_compute(sim_gpu *gpu, unsigned id, unsigned slices, int start) {
    const sim_mig_kind *kind = sim_part_at(gpu, id);
    if (!kind || !sim_is_compute_size(kind, slices)) {
        return SIM_NO_PART;
    }
    sim_part *part = &gpu->settings.parts[id];
    unsigned starts[SIM_INSTANCES], count = sim_compute_starts(kind, slices, starts), place = 0;
    while (place < SIM_INSTANCES && part->compute[place]) {
        place++;
    }
    for (unsigned i = 0; i < count && place < SIM_INSTANCES; i++) {
        bool free = !(compute_taken(part) & span(starts[i], slices));
        if (free && (start == SIM_ANY_START || (unsigned)start == starts[i])) {
            part->start[place] = starts[i];
            __atomic_store_n(&part->compute[place], slices, __ATOMIC_RELEASE);
            return (int)place;
        }
    }
    return SIM_NO_PART;
}

int sim_part_make(sim_machine *machine, uint32_t gpu, unsigned place, int start) {
    sim_gpu *card = &machine->state->gpus[gpu];
    sim_mutex_lock(machine, &card->lock);
    int id = make_part(card, place, start);
    sim_mutex_unlock(machine, &card->lock);
    return id;
}

int sim_compute_make(sim_machine *machine, uint32_t gpu, unsigned id, unsigned slices, int start) {
    sim_gpu *card = &machine->state->gpus[gpu];
    sim_mutex_lock(machine, &card->lock);
    int made = make_compute(card, id, slices, start);
    sim_mutex_unlock(machine, &card->lock);
    return made;
}

bool sim_part_end(sim_machine *machine, uint32_t gpu, unsigned id) {
    sim_gpu *card = &machine->state->gpus[gpu];
    sim_mutex_lock(machine, &card->lock);
    bool empty = !compute_taken(&card->settings.parts[id]);
    if (empty) {
        __atomic_store_n(&card->settings.parts[id].kind, 0, __ATOMIC_RELEASE);
    }
    sim_mutex_unlock(machine, &card->lock);
    return empty;
}

void sim_compute_end(sim_machine *machine, uint32_t gpu, unsigned id, unsigned compute_id) {
    sim_gpu *card = &machine->state->gpus[gpu];
    sim_mutex_lock(machine, &card->lock);
    __atomic_store_n(&card->settings.parts[id].compute[compute_id], 0, __ATOMIC_RELEASE);
    sim_mutex_unlock(machine, &card->lock);
}

void sim_parts_clear(sim_gpu *gpu) {
    for (unsigned id = 0; id < SIM_PARTS; id++) {
        __atomic_store_n(&gpu->settings.parts[id].kind, 0, __ATOMIC_RELEASE);
    }
}

bool sim_instance_at(const sim_gpu *gpu, unsigned id, unsigned compute_id, sim_instance *found) {
    const sim_profile *profile = &sim_profiles[gpu->profile];
    const sim_mig_kind *kind = sim_part_at(gpu, id);
    unsigned slices = kind && compute_id < SIM_INSTANCES ? gpu->settings.parts[id].compute[compute_id] : 0;
    if (!slices) {
        return false;
    }
    *found = (sim_instance){
        .kind = kind,
        .id = id,
        .compute_id = compute_id,
        .start = gpu->settings.parts[id].start[compute_id],
        .slices = slices,
        .multiprocessors = sim_mig_compute_multiprocessors(profile, kind, slices),
        .memory = sim_mig_memory(profile, kind),
    };
    sim_mig_name(profile, kind, slices, found->name);
    return true;
}

bool sim_instance_nth(const sim_gpu *gpu, unsigned index, sim_instance *found) {
    for (unsigned at = 0; at < SIM_PARTS * SIM_INSTANCES; at++) {
        if (sim_instance_at(gpu, at / SIM_INSTANCES, at % SIM_INSTANCES, found) && index-- == 0) {
            return true;
        }
    }
    return false;
}

/* The plain kind with so many slices. */
static int kind_of_size(const sim_profile *profile, unsigned slices) {
    const sim_mig_kind *kind;
    for (int place = 0; (kind = sim_mig_kind_at(profile, (unsigned)place)); place++) {
        if (kind->slices == slices && !*kind->suffix) {
            return place;
        }
    }
    return SIM_NO_PART;
}

/* Makes the instances, the largest first: smaller ones could lie in their way. */
static bool make_all(sim_gpu *gpu, const unsigned *sizes, unsigned count) {
    unsigned made = 0;
    for (unsigned slices = SIM_INSTANCES; slices > 0; slices--) {
        for (unsigned i = 0; i < count; i++) {
            int place = sizes[i] == slices ? kind_of_size(&sim_profiles[gpu->profile], slices) : SIM_NO_PART;
            int id = place == SIM_NO_PART ? SIM_NO_PART : make_part(gpu, (unsigned)place, SIM_ANY_START);
            made += id != SIM_NO_PART && make_compute(gpu, (unsigned)id, slices, SIM_ANY_START) != SIM_NO_PART;
        }
    }
    return made == count;
}

bool sim_instances_set(sim_machine *machine, uint32_t gpu, const unsigned *sizes, unsigned count) {
    sim_gpu *card = &machine->state->gpus[gpu];
    sim_part before[SIM_PARTS];
    sim_mutex_lock(machine, &card->lock);
    memcpy(before, card->settings.parts, sizeof before);
    sim_parts_clear(card);
    bool done = make_all(card, sizes, count);
    if (!done) {
        memcpy(card->settings.parts, before, sizeof before);
    }
    sim_mutex_unlock(machine, &card->lock);
    return done;
}
