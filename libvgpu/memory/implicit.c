#include "libvgpu/memory/implicit.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "libvgpu/base/lock.h"
#include "libvgpu/memory/nvml_delta.h"
#include "libvgpu/memory/quota.h"
#include "libvgpu/shared/account.h"

/* Asks take at most one part of a process's time, of so many. */
#define PARTS 16
/* What a process has saved up at most, so that one that asks now and then always gets an answer. */
#define SAVED_NS 100000000

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct processes {
    struct account_process *list;
    unsigned count;
};

static struct processes in_account(int gpu) {
    struct processes found;
    found.list = account_processes((unsigned)gpu, &found.count);
    return found;
}

/* Returns what the process has in the account; 0: it isn't one of the container's. */
static uint64_t amount(const struct processes *processes, unsigned pid) {
    for (unsigned place = 0; place < processes->count; place++) {
        if (processes->list[place].pid == pid) {
            return processes->list[place].used;
        }
    }
    return 0;
}

/* NVML may list a process twice. */
static bool is_first(const struct nvml_processes *listed, unsigned place) {
    for (unsigned before = 0; before < place; before++) {
        if (listed->list[before].pid == listed->list[place].pid) {
            return false;
        }
    }
    return true;
}

/* What other threads and processes allocate or free in the same time is in one of the account's two lists, so of a process's
 * two amounts the larger one counts. */
static uint64_t beyond_account(const struct nvml_processes *listed, const struct processes *before,
                               const struct processes *after, uint64_t pending) {
    uint64_t sum = 0;
    for (unsigned place = 0; place < listed->count; place++) {
        unsigned pid = listed->list[place].pid;
        uint64_t has = listed->list[place].used, one = amount(before, pid), other = amount(after, pid);
        uint64_t counted = one > other ? one : other;
        if (counted == 0 || has > INT64_MAX || !is_first(listed, place)) {
            continue; /* a stranger's, or unknown */
        }
        if (pid == (unsigned)getpid()) {
            counted -= pending < counted ? pending : counted;
        }
        sum += has > counted ? has - counted : 0;
    }
    return sum;
}

static void ask(int gpu, uint64_t pending) {
    nvmlDevice_t device = devices_nvml(gpu);
    struct nvml_processes listed;
    struct processes before = in_account(gpu);
    if (device != NULL && nvml_processes_list(device, &listed)) {
        struct processes after = in_account(gpu);
        account_note_implicit((unsigned)gpu, beyond_account(&listed, &before, &after, pending));
        free(after.list);
        free(listed.list);
    }
    free(before.list);
}

/* Asks, unless the process has asked too much lately, or another thread is asking. */
static void ask_if_due(int gpu, uint64_t pending) {
    MUTEX(asking); /* nobody waits for it */
    static int64_t saved = SAVED_NS;
    static uint64_t seen;
    if (!mutex_try_lock(&asking)) {
        return;
    }
    uint64_t begun = now_ns();
    saved += (int64_t)((begun - seen) / PARTS);
    saved = saved < SAVED_NS ? saved : SAVED_NS;
    seen = begun;
    if (saved > 0) {
        ask(gpu, pending);
        saved -= (int64_t)(now_ns() - begun);
    }
    mutex_unlock(&asking);
}

bool implicit_fits(int gpu, uint64_t pending) {
    ask_if_due(gpu, pending);
    return quota_total(gpu) <= quota_limit(gpu);
}

void implicit_refresh(int gpu) {
    if (gpu != NO_GPU) {
        ask_if_due(gpu, 0);
    }
}

void implicit_refresh_before_refusal(int gpu) {
    if (gpu != NO_GPU && account_implicit((unsigned)gpu) > 0) {
        ask(gpu, 0);
    }
}
