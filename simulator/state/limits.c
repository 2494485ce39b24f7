/* Limits that control groups have on a GPU's memory, enforced for every process in them.
 *
 * A group is known by its folder: by the folder's inode, and by its path. A program in a container sees only its own
 * group's folder, and in the first version of control groups the paths of those above. On a computer with the first version of control groups, which the real driver doesn't
 * support, the groups of the memory controller stand in. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "simulator/state/state.h"

#define GROUPS_ROOT "/sys/fs/cgroup"

static bool group_of(const char *folder, sim_group *group) {
    struct stat found;
    if (stat(folder, &found) != 0 || !S_ISDIR(found.st_mode)) {
        return false;
    }
    *group = (sim_group){(uint64_t)found.st_dev, (uint64_t)found.st_ino};
    return true;
}

/* Stands for a folder's path, where a device and an inode would be. */
static sim_group path_of(const char *folder) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *each = folder; *each; each++) {
        hash = (hash ^ (unsigned char)*each) * 1099511628211u;
    }
    return (sim_group){UINT64_MAX, hash};
}

static bool same(const sim_group *a, const sim_group *b) {
    return a->device == b->device && a->inode == b->inode;
}

/* Adds the group at `path` below a hierarchy's root, and those above it. */
static void add(sim_process *own, const char *hierarchy, char *path) {
    for (char *end = path + strlen(path);; *end = 0) {
        char folder[4400];
        snprintf(folder, sizeof folder, "%s%s%s%s", GROUPS_ROOT, *hierarchy ? "/" : "", hierarchy, path);
        if (own->group_count < SIM_GROUPS && group_of(folder, &own->groups[own->group_count])) {
            own->group_count++;
        }
        if (own->group_count < SIM_GROUPS && path[0]) {
            own->groups[own->group_count++] = path_of(folder);
        }
        end = strrchr(path, '/');
        if (!end || !path[0]) {
            return;
        }
    }
}

void sim_groups_read(sim_process *own) {
    char line[4200];
    FILE *file = fopen("/proc/self/cgroup", "re");
    own->group_count = 0;
    while (file && fgets(line, sizeof line, file)) {
        /* number:controllers:path; no controllers: the second version's only hierarchy */
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (path) {
            *path++ = 0;
            controllers++;
            if (!*controllers || strcmp(controllers, "memory") == 0) {
                add(own, controllers, path);
            }
        }
    }
    if (file) {
        fclose(file);
    }
}

static bool is_in(const sim_process *process, const sim_limit *limit) {
    for (uint32_t i = 0; i < process->group_count && i < SIM_GROUPS; i++) {
        if (same(&process->groups[i], &limit->group) || same(&process->groups[i], &limit->path)) {
            return true;
        }
    }
    return false;
}

static uint64_t used_by(const sim_machine *machine, uint32_t gpu, const sim_limit *limit) {
    uint64_t sum = 0;
    uint32_t high = __atomic_load_n(&machine->state->process_high, __ATOMIC_ACQUIRE);
    for (uint32_t slot = 0; slot < high; slot++) {
        const sim_process *process = &machine->state->processes[slot];
        const sim_use *use = &process->use[gpu];
        if (process->taken && (use->memory || use->contexts) && is_in(process, limit)) {
            sum += use->memory - use->managed + use->contexts;
        }
    }
    return sum;
}

/* Groups that were removed took their limits with them. Call with the GPU locked, as the next two. */
static void forget_removed(sim_gpu *gpu) {
    for (uint32_t i = 0; i < gpu->limit_count; i++) {
        sim_limit *each = &gpu->limits[i];
        sim_group now;
        if (each->taken && !(group_of(each->folder, &now) && same(&each->group, &now))) {
            each->taken = false;
        }
    }
}

static sim_limit *find(sim_gpu *gpu, const sim_group *group) {
    for (uint32_t i = 0; i < gpu->limit_count; i++) {
        sim_limit *each = &gpu->limits[i];
        if (each->taken && same(&each->group, group)) {
            return each;
        }
    }
    return NULL;
}

static sim_limit *make(sim_gpu *gpu) {
    forget_removed(gpu);
    for (uint32_t i = 0; i < SIM_LIMITS; i++) {
        if (!gpu->limits[i].taken) {
            gpu->limit_count = i >= gpu->limit_count ? i + 1 : gpu->limit_count;
            return &gpu->limits[i];
        }
    }
    return NULL;
}

int sim_limit_set(sim_machine *machine, uint32_t index, const char *folder, uint64_t soft, uint64_t hard) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_group group;
    if (!group_of(folder, &group)) {
        return SIM_NO_GROUP;
    }
    if (strlen(folder) >= sizeof gpu->limits[0].folder) {
        return SIM_FULL;
    }
    sim_mutex_lock(machine, &gpu->lock);
    sim_limit *known = find(gpu, &group);
    bool clear = soft == 0 && hard == SIM_UNLIMITED;
    sim_limit *place = known || clear ? known : make(gpu);
    if (place) {
        *place = (sim_limit){.group = group, .path = path_of(folder), .taken = !clear, .soft = soft, .hard = hard};
        strcpy(place->folder, folder);
    }
    sim_mutex_unlock(machine, &gpu->lock);
    return place || clear ? SIM_OK : SIM_FULL;
}

int sim_limit_get(sim_machine *machine, uint32_t gpu, const char *folder, sim_limit *found, uint64_t *used) {
    sim_group group;
    if (!group_of(folder, &group)) {
        return SIM_NO_GROUP;
    }
    sim_process_reap(machine);
    sim_mutex *lock = &machine->state->gpus[gpu].lock;
    sim_mutex_lock(machine, lock);
    const sim_limit *known = find(&machine->state->gpus[gpu], &group);
    if (known) {
        *found = *known;
        *used = used_by(machine, gpu, known);
    }
    sim_mutex_unlock(machine, lock);
    return known ? SIM_OK : SIM_NO_LIMIT_GIVEN;
}

uint64_t sim_limits_leave(sim_machine *machine, int slot, uint32_t index, uint64_t free) {
    const sim_gpu *gpu = &machine->state->gpus[index];
    if (!__atomic_load_n(&gpu->limit_count, __ATOMIC_RELAXED)) {
        return free;
    }
    sim_process *own = &machine->state->processes[slot];
    if (slot == machine->slot) {
        sim_groups_read(own);
    }
    uint64_t left = free, guaranteed = 0, mine = 0;
    for (uint32_t i = 0; i < gpu->limit_count; i++) {
        const sim_limit *each = &gpu->limits[i];
        if (!each->taken) {
            continue;
        }
        uint64_t used = used_by(machine, index, each);
        if (is_in(own, each)) {
            left = sim_earlier(left, used < each->hard ? each->hard - used : 0);
            mine = sim_later(mine, used < each->soft ? each->soft - used : 0);
        } else {
            guaranteed += used < each->soft ? each->soft - used : 0;
        }
    }
    /* What others are guaranteed isn't there for this one, beyond its own guarantee. */
    uint64_t open = free > guaranteed ? free - guaranteed : 0;
    return sim_earlier(left, sim_later(open, sim_earlier(mine, free)));
}
