/* This process's access to the shared machine: found or created, and mapped once. The driver's libraries never unmap it;
 * the command's may be asked for another machine. */
#include "simulator/state/state.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static sim_machine own = {.fd = -1, .slot = SIM_NO_SLOT};

uint64_t sim_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static sim_status attach(const char *dir, sim_machine *machine) {
    machine->slot = SIM_NO_SLOT;
    snprintf(machine->dir, sizeof machine->dir, "%s", dir);
    char path[4200];
    snprintf(path, sizeof path, "%s/state", machine->dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return SIM_FAILED;
    }
    struct stat file;
    sim_state *state = MAP_FAILED;
    bool whole = fstat(fd, &file) == 0 && file.st_size == (off_t)sizeof *state;
    if (whole) {
        state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (state == MAP_FAILED) {
        close(fd);
        return SIM_DAMAGED;
    }
    if (memcmp(state->magic, SIM_MAGIC, sizeof state->magic) != 0 || state->layout != SIM_LAYOUT ||
        state->size != sizeof *state || state->gpu_count > SIM_MAX_GPUS) {
        munmap(state, sizeof *state);
        close(fd);
        return SIM_DAMAGED;
    }
    machine->state = state;
    machine->fd = fd;
    return SIM_OK;
}

static sim_status find_or_build(sim_machine *machine) {
    const char *dir = getenv("UNIGPU_SIM_DIR");
    if (!dir || !*dir) {
        dir = SIM_DEFAULT_DIR;
        if (access(dir, F_OK) != 0) {
            return SIM_NO_MACHINE;
        }
    }
    sim_status status = attach(dir, machine);
    if (status == SIM_FAILED && errno == ENOENT) {
        sim_plan plan = {.dir = dir};
        status = sim_create(&plan);
        if (status == SIM_OK || status == SIM_EXISTS) {
            status = attach(dir, machine);
        }
    }
    return status;
}

static void before_fork(void) {
    pthread_mutex_lock(&opening);
}

static void after_fork_in_parent(void) {
    pthread_mutex_unlock(&opening);
}

/* The child keeps file and mapping, but the slot's lock stayed with the parent. */
static void after_fork_in_child(void) {
    own.slot = SIM_NO_SLOT;
    pthread_mutex_unlock(&opening);
}

/* Whether the machine in that folder is the mapped one, and not another, nor a new one in its place. */
static bool is_mapped(const char *dir) {
    char path[4200];
    struct stat there, mapped;
    snprintf(path, sizeof path, "%s/state", dir);
    return stat(path, &there) == 0 && fstat(own.fd, &mapped) == 0 && there.st_dev == mapped.st_dev &&
           there.st_ino == mapped.st_ino;
}

/* Closing the file releases the lock of this process's slot. */
static void leave(void) {
    munmap(own.state, sizeof *own.state);
    close(own.fd);
    own = (sim_machine){.fd = -1, .slot = SIM_NO_SLOT};
}

static sim_status settle(const char *dir, sim_machine **machine) {
    static bool watching;
    pthread_mutex_lock(&opening);
    sim_status status = SIM_OK;
    if (dir && own.state && !is_mapped(dir)) {
        leave();
    }
    if (!own.state) {
        status = dir ? attach(dir, &own) : find_or_build(&own);
        if (status == SIM_OK && !watching) {
            watching = true;
            pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
        }
    }
    if (status == SIM_OK && own.slot == SIM_NO_SLOT) {
        status = sim_process_join(&own);
    }
    if (status == SIM_OK) {
        *machine = &own;
    }
    pthread_mutex_unlock(&opening);
    return status;
}

sim_status sim_open(sim_machine **machine) {
    return settle(NULL, machine);
}

sim_status sim_join(const char *dir, sim_machine **machine) {
    return settle(dir, machine);
}

bool sim_gpu_visible(const sim_machine *machine, uint32_t gpu) {
    char path[4200];
    snprintf(path, sizeof path, "%s/gpu%u", machine->dir, gpu);
    return gpu < machine->state->gpu_count && access(path, F_OK) == 0;
}

void sim_gpu_lose(sim_machine *machine, uint32_t index, bool lost) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_mutex_lock(machine, &gpu->lock);
    if (sim_gpu_lost(gpu) != lost) {
        __atomic_add_fetch(&gpu->lost, 1, __ATOMIC_RELEASE);
    }
    sim_mutex_unlock(machine, &gpu->lock);
}
