#include "libvgpu/shared/wish.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libvgpu/base/config.h"
#include "libvgpu/base/lock.h"
#include "libvgpu/base/log.h"
#include "libvgpu/base/names.h"
#include "libvgpu/shared/account.h"
#include "libvgpu/shared/policy.h"
#include "libvgpu/shared/usage_file.h"

#define PATIENCE_NS 2000000000UL
#define PACE_NS 5000000L
#define MIB(bytes) ((unsigned long long)(((bytes) + (1 << 20) - 1) >> 20))

/* What the environment names above the container's limits: the largest over its GPUs; 0: nothing. */
struct above {
    uint64_t memory;
    uint32_t cores;
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct above find_above(const struct config *here) {
    struct above found = {0, 0};
    struct policy_compute terms;
    uint64_t memory;
    for (unsigned gpu = 0; gpu < VGPU_MAX_GPUS && policy_compute(gpu, &terms) && policy_limit(gpu, &memory); gpu++) {
        if (here->unreadable[gpu]) {
            continue;
        }
        if (here->limits[gpu] > memory && here->limits[gpu] > found.memory) {
            found.memory = here->limits[gpu];
        }
        bool limited = (terms.flags & VGPU_POLICY_CORES) != 0 && terms.compute != VGPU_POLICY_UNLIMITED;
        bool soft = terms.compute == VGPU_POLICY_SOFT && terms.ceiling > terms.cores;
        uint32_t most = soft ? terms.ceiling : terms.cores;
        if (limited && terms.cores > 0 && here->cores[gpu] > most && here->cores[gpu] > found.cores) {
            found.cores = here->cores[gpu];
        }
    }
    return found;
}

static bool is_any(struct above found) {
    return found.memory > 0 || found.cores > 0;
}

/* Locks the wish against the container's other processes. A process that dies loses the lock. */
static bool lock(struct usage_file *file, uint64_t until) {
    while (!usage_file_lock(file, VGPU_WISH_LOCK)) {
        if (now_ns() >= until) {
            return false;
        }
        nanosleep(&(struct timespec){0, PACE_NS}, NULL);
    }
    return true;
}

static uint64_t write_wish(struct vgpu_wish *wish, const struct config *here) {
    uint64_t number = now_ns();
    __atomic_store_n(&wish->number, 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    for (unsigned gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        wish->gpus[gpu].memory = here->unreadable[gpu] ? 0 : here->limits[gpu];
        wish->gpus[gpu].cores = here->unreadable[gpu] ? 0 : here->cores[gpu];
    }
    __atomic_store_n(&wish->number, number, __ATOMIC_RELEASE);
    return number;
}

static bool wait_for_answer(uint64_t number, uint64_t until, struct vgpu_answer *answer) {
    do {
        if (policy_answer(number, answer)) {
            return true;
        }
        nanosleep(&(struct timespec){0, PACE_NS}, NULL);
    } while (now_ns() < until);
    return false;
}

/* `CUDA_DEVICE_MEMORY_LIMIT = 300 MiB, CUDA_DEVICE_SM_LIMIT = 50 %`, or those as arguments of `kubectl unigpu limit`. */
static const char *describe(struct above found, const char *memory_form, const char *cores_form, char text[96]) {
    int length = 0;
    text[0] = '\0';
    if (found.memory > 0) {
        length = snprintf(text, 96, memory_form, MIB(found.memory));
    }
    if (found.cores > 0) {
        length += snprintf(text + length, 96 - (size_t)length, "%s", length > 0 ? " " : "");
        snprintf(text + length, 96 - (size_t)length, cores_form, found.cores);
    }
    return text;
}

static void say(struct above found, const struct vgpu_answer *answer) {
    char what[96], arguments[96];
    describe(found, UNIGPU_ENV_MEMORY_LIMIT " = %llu MiB", UNIGPU_ENV_CORE_LIMIT " = %u %%", what);
    if (answer != NULL && answer->granted) {
        log_write(LOG_INFO, "%s: granted to the container", what);
    } else if (answer != NULL) {
        log_write(LOG_ERROR, "%s: not granted: %s", what, answer->text);
    } else {
        const char *pod = getenv("HOSTNAME");
        log_write(
            LOG_ERROR,
            "%s: above the container's limits, and the node agent didn't answer within 2 s, so these stay as they "
            "are; accepted: lower limits, or from outside: kubectl unigpu limit %s %s",
            what, pod != NULL && *pod != '\0' ? pod : "POD", describe(found, "--memory %llu", "--cores %u", arguments));
    }
}

static void ask(const struct config *here, struct above found) {
    struct usage_file *file = account_file();
    uint64_t until = now_ns() + PATIENCE_NS;
    struct vgpu_answer answer;
    if (file == NULL) {
        return; /* the reason was logged */
    }
    if (!lock(file, until)) {
        say(found, NULL);
        return;
    }
    /* The process that had the lock before may have asked for the same. */
    if (is_any(find_above(here))) {
        uint64_t number = write_wish(&file->view->wish, here);
        say(found, wait_for_answer(number, until, &answer) ? &answer : NULL);
    }
    usage_file_unlock(file, VGPU_WISH_LOCK);
}

void wish_settle(void) {
    MUTEX(settling);
    static bool settled;
    if (__atomic_load_n(&settled, __ATOMIC_ACQUIRE)) {
        return;
    }
    mutex_lock(&settling);
    if (!settled) {
        const struct config *here = config();
        struct above found = here->made_by_agent ? find_above(here) : (struct above){0, 0};
        if (is_any(found)) {
            ask(here, found);
        }
        __atomic_store_n(&settled, true, __ATOMIC_RELEASE);
    }
    mutex_unlock(&settling);
}
