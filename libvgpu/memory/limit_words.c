#include "libvgpu/memory/limit_words.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "libvgpu/base/config.h"
#include "libvgpu/base/log.h"
#include "libvgpu/base/names.h"
#include "libvgpu/driver/devices.h"
#include "libvgpu/shared/policy.h"

#define MIB(bytes) ((unsigned long long)(bytes) >> 20)

struct words {
    char text[256];
};

static struct words variable(const char *name, uint8_t source, int gpu) {
    struct words found;
    snprintf(found.text, sizeof found.text, source == LIMIT_OF_ONE ? "%s_%d" : "%s", name, gpu);
    return found;
}

/* Where the limit that holds was set, and how to change it. */
static struct words remedy(const char *option, unsigned long long wanted) {
    struct words found;
    const char *pod = getenv("HOSTNAME");
    pod = pod != NULL && *pod != '\0' ? pod : "POD";
    if (!config()->made_by_agent) {
        snprintf(found.text, sizeof found.text, "write it into the policy %.200s", config()->policy);
    } else if (wanted == 0) {
        snprintf(found.text, sizeof found.text, "kubectl unigpu limit %.40s --%s AMOUNT", pod, option);
    } else {
        snprintf(found.text, sizeof found.text, "kubectl unigpu limit %.40s --%s %llu", pod, option, wanted);
    }
    return found;
}

static void say_of_memory(int gpu, uint64_t memory) {
    unsigned long long wanted = MIB(config()->limits[gpu]);
    LOG_ONCE(LOG_ERROR,
             "%s = %llu MiB: no effect on GPU %d, where the container's limit is %llu MiB; to change that: %s",
             variable(UNIGPU_ENV_MEMORY_LIMIT, config()->limits_from[gpu], gpu).text, wanted, gpu, MIB(memory),
             remedy("memory", wanted).text);
}

/* Returns the most time, in percent, that the policy lets the container have; 0: it sets no bound. */
static uint32_t most_time(int gpu) {
    struct policy_compute policy;
    if (!policy_compute((unsigned)gpu, &policy) || (policy.flags & VGPU_POLICY_CORES) == 0 ||
        policy.compute == VGPU_POLICY_UNLIMITED) {
        return 0;
    }
    bool lends = policy.compute == VGPU_POLICY_SOFT && policy.ceiling > policy.cores;
    return lends ? policy.ceiling : policy.cores;
}

static void say_of_time(int gpu) {
    uint32_t wanted = config()->cores[gpu], most = most_time(gpu);
    if (most > 0 && most < 100 && (wanted == 0 || (wanted > most && !config()->made_by_agent))) {
        LOG_ONCE(LOG_ERROR,
                 "%s = %u: no effect on GPU %d, where the container has at most %u %% of the time; to change that: %s",
                 variable(UNIGPU_ENV_CORE_LIMIT, config()->cores_from[gpu], gpu).text, wanted, gpu, most,
                 remedy("cores", wanted).text);
    }
}

/* Says of each limit of one GPU that there is none of its number. */
static void say_of_none(void) {
    const struct config *here = config();
    bool any = false;
    for (int gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        any |= here->limits_from[gpu] == LIMIT_OF_ONE || here->cores_from[gpu] == LIMIT_OF_ONE;
    }
    int count = any ? devices_count() : 0;
    for (int gpu = count; count > 0 && gpu < VGPU_MAX_GPUS; gpu++) {
        bool memory = here->limits_from[gpu] == LIMIT_OF_ONE;
        if (memory || here->cores_from[gpu] == LIMIT_OF_ONE) {
            log_write(LOG_ERROR, "%s_%d: no effect, as there is no GPU %d; accepted: %s",
                      memory ? UNIGPU_ENV_MEMORY_LIMIT : UNIGPU_ENV_CORE_LIMIT, gpu, gpu,
                      count == 1 ? "_0" : variable("_0 to ", LIMIT_OF_ONE, count - 1).text);
        }
    }
}

/* What is above the container's limits in a container of the node agent is shared/wish.c's to say. */
void limit_words_say(int gpu, uint64_t memory) {
    static bool compared[VGPU_MAX_GPUS], counted;
    const struct config *here = config();
    if (here->limits_from[gpu] != LIMIT_UNSET && memory != POLICY_UNLIMITED && !here->unreadable[gpu] &&
        (here->limits[gpu] == 0 || (here->limits[gpu] > memory && !here->made_by_agent))) {
        say_of_memory(gpu, memory);
    }
    if (here->cores_from[gpu] != LIMIT_UNSET && here->kind == CONFIG_POLICY && !here->unreadable[gpu] &&
        !__atomic_exchange_n(&compared[gpu], true, __ATOMIC_RELAXED)) {
        say_of_time(gpu);
    }
    if (!__atomic_load_n(&counted, __ATOMIC_RELAXED) && !__atomic_exchange_n(&counted, true, __ATOMIC_RELAXED)) {
        say_of_none();
    }
}
