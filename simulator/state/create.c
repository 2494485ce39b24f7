/* Creating a machine: it is built whole in a temporary file, then linked into place. If another process was faster, the link
 * fails and its machine is used. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "simulator/state/state.h"

#define MIB ((uint64_t)1 << 20)

static uint64_t next_random(uint64_t *seed) {
    if (*seed == 0) {
        uint64_t value = 0;
        if (getrandom(&value, sizeof value, 0) != (ssize_t)sizeof value) {
            value = sim_now_ns();
        }
        return value;
    }
    uint64_t value = *seed += 0x9E3779B97F4A7C15ULL;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL;
    return value ^ (value >> 31);
}

static void name_gpu(sim_gpu *gpu, uint64_t *seed) {
    uint64_t words[2] = {next_random(seed), next_random(seed)};
    unsigned char *bytes = gpu->uuid_bytes;
    memcpy(bytes, words, 16);
    bytes[6] = (unsigned char)(0x40 | (bytes[6] & 0x0F)); /* version 4: random */
    bytes[8] = (unsigned char)(0x80 | (bytes[8] & 0x3F));
    char *text = gpu->uuid;
    text += sprintf(text, "GPU");
    for (int i = 0; i < 16; i++) {
        bool group = i == 0 || i == 4 || i == 6 || i == 8 || i == 10;
        text += sprintf(text, group ? "-%02x" : "%02x", bytes[i]);
    }
    snprintf(gpu->serial, sizeof gpu->serial, "%013llu", (unsigned long long)(words[0] % 10000000000000ULL));
}

static bool link_gpus(sim_state *state, const sim_profile *profile, const char *links) {
    if (!links) {
        links = profile->nvlinks ? "full" : "none";
    }
    bool full = strcmp(links, "full") == 0;
    bool pairs = strcmp(links, "pairs") == 0;
    if (!full && !pairs) {
        return strcmp(links, "none") == 0;
    }
    /* Joined by a switch, every link of a GPU reaches every other GPU; a bridge has four links. */
    uint8_t width = (uint8_t)(full && profile->nvlinks ? profile->nvlinks : 4);
    for (uint32_t a = 0; a < state->gpu_count; a++) {
        for (uint32_t b = 0; b < state->gpu_count; b++) {
            state->gpus[a].links[b] = a != b && (full || a / 2 == b / 2) ? width : 0;
        }
    }
    return true;
}

void sim_set_latencies(sim_state *state, bool on) {
    const char *profile = sim_profiles[state->gpus[0].profile].key;
    state->latencies = on ? sim_latencies_of(profile, atoi(state->driver_version)) : (sim_latencies){0};
}

static bool fill(sim_state *state, const sim_plan *plan) {
    int index = sim_profile_find(plan->profile ? plan->profile : "a100-40");
    uint32_t count = plan->gpus ? plan->gpus : 1;
    if (index < 0 || count > SIM_MAX_GPUS) {
        return false;
    }
    const sim_profile *profile = &sim_profiles[index];
    uint64_t seed = plan->seed;
    memcpy(state->magic, SIM_MAGIC, sizeof state->magic);
    state->layout = SIM_LAYOUT;
    state->size = sizeof *state;
    state->gpu_count = count;
    state->cuda_version = plan->cuda_version ? plan->cuda_version : 12090;
    snprintf(state->driver_version, sizeof state->driver_version, "%s",
             plan->driver_version ? plan->driver_version : "575.57.08");
    for (uint32_t i = 0; i < count; i++) {
        sim_gpu *gpu = &state->gpus[i];
        gpu->profile = (uint32_t)index;
        gpu->total_memory = profile->memory_mib * MIB;
        gpu->reserved_memory = profile->reserved_mib * MIB;
        gpu->pci_bus = 8 * i + 7;
        gpu->numa_node = count > 4 ? 2 * i / count : 0;
        gpu->created_ns = sim_now_ns();
        name_gpu(gpu, &seed);
    }
    sim_set_latencies(state, !plan->prompt);
    return link_gpus(state, profile, plan->links);
}

static sim_status write_file(const char *path, const sim_plan *plan) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        return SIM_FAILED;
    }
    sim_status status = SIM_FAILED;
    /* Everybody on the machine shares it, whatever the builder's umask. */
    if (fchmod(fd, 0666) == 0 && ftruncate(fd, sizeof(sim_state)) == 0) {
        sim_state *state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (state != MAP_FAILED) {
            errno = EINVAL;
            status = fill(state, plan) ? SIM_OK : SIM_FAILED;
            munmap(state, sizeof *state);
        }
    }
    close(fd);
    return status;
}

static bool write_node(const char *dir, uint32_t index) {
    char path[4200];
    snprintf(path, sizeof path, "%s/gpu%u", dir, index);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        return false;
    }
    bool done = fchmod(fd, 0666) == 0 || errno == EPERM;
    close(fd);
    return done;
}

sim_status sim_create(const sim_plan *plan) {
    char path[4200], temporary[4200];
    snprintf(path, sizeof path, "%s/state", plan->dir);
    snprintf(temporary, sizeof temporary, "%s/.state.%d.%llx", plan->dir, getpid(), (unsigned long long)sim_now_ns());
    if (mkdir(plan->dir, 0755) != 0 && errno != EEXIST) {
        return SIM_FAILED;
    }
    sim_status status = write_file(temporary, plan);
    /* Nodes first: a process that sees the machine then sees its GPUs. */
    for (uint32_t i = 0; status == SIM_OK && i < (plan->gpus ? plan->gpus : 1); i++) {
        status = write_node(plan->dir, i) ? SIM_OK : SIM_FAILED;
    }
    if (status == SIM_OK) {
        int done = plan->replace ? rename(temporary, path) : link(temporary, path);
        status = done == 0 ? SIM_OK : errno == EEXIST ? SIM_EXISTS : SIM_FAILED;
    }
    int reason = errno;
    unlink(temporary);
    errno = reason;
    return status;
}
