#include "libvgpu/shared/policy.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "libvgpu/base/config.h"
#include "libvgpu/base/lock.h"
#include "libvgpu/base/log.h"

/* How long a writer may take for a change: it writes a few hundred bytes. */
#define PATIENCE_NS 20000000L

static const struct vgpu_policy *mapped;

static const struct vgpu_policy *map(void) {
    MUTEX(lock);
    const struct vgpu_policy *file = __atomic_load_n(&mapped, __ATOMIC_ACQUIRE);
    if (file != NULL) {
        return file;
    }
    const char *path = config()->policy;
    mutex_lock(&lock);
    file = mapped;
    int descriptor = file == NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (descriptor >= 0) {
        if (lseek(descriptor, 0, SEEK_END) >= (off_t)VGPU_POLICY_SIZE) {
            void *view = mmap(NULL, VGPU_POLICY_SIZE, PROT_READ, MAP_SHARED, descriptor, 0);
            if (view != MAP_FAILED) {
                file = view;
            }
        }
        close(descriptor);
        __atomic_store_n(&mapped, file, __ATOMIC_RELEASE);
    }
    mutex_unlock(&lock);
    if (file == NULL) {
        LOG_ONCE(LOG_ERROR, "no policy can be read from %s: GPU memory is refused", path);
    }
    return file;
}

static long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

/* Waits for an even sequence. False where the writer seems to have died during a change. */
static bool settled(const struct vgpu_policy *file, uint32_t *sequence) {
    *sequence = __atomic_load_n(&file->sequence, __ATOMIC_ACQUIRE);
    if ((*sequence & 1) == 0) {
        return true;
    }
    long until = now_ns() + PATIENCE_NS;
    do {
        sched_yield();
        *sequence = __atomic_load_n(&file->sequence, __ATOMIC_ACQUIRE);
        if ((*sequence & 1) == 0) {
            return true;
        }
    } while (now_ns() < until);
    LOG_ONCE(LOG_ERROR, "the policy in %s is half written: GPU memory is refused", config()->policy);
    return false;
}

static bool unchanged(const struct vgpu_policy *file, uint32_t sequence) {
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&file->sequence, __ATOMIC_RELAXED) == sequence;
}

struct head {
    uint32_t magic, version, size, count;
};

static struct head read_head(const struct vgpu_policy *file) {
    return (struct head){
        __atomic_load_n(&file->magic, __ATOMIC_RELAXED), __atomic_load_n(&file->version, __ATOMIC_RELAXED),
        __atomic_load_n(&file->size, __ATOMIC_RELAXED), __atomic_load_n(&file->count, __ATOMIC_RELAXED)};
}

static bool known(struct head head) {
    if (head.magic == VGPU_POLICY_MAGIC && head.version == VGPU_POLICY_VERSION && head.size == VGPU_POLICY_SIZE &&
        head.count <= VGPU_MAX_GPUS) {
        return true;
    }
    LOG_ONCE(LOG_ERROR, "the policy in %s is not of version %u (magic %#x, version %u): GPU memory is refused",
             config()->policy, VGPU_POLICY_VERSION, head.magic, head.version);
    return false;
}

bool policy_copy(struct vgpu_policy *copy) {
    const struct vgpu_policy *file = map();
    uint32_t sequence;
    if (file == NULL) {
        return false;
    }
    do {
        if (!settled(file, &sequence)) {
            return false;
        }
        memcpy(copy, file, sizeof *copy);
    } while (!unchanged(file, sequence));
    return known(read_head(copy));
}

bool policy_limit(unsigned gpu, uint64_t *bytes) {
    const struct vgpu_policy *file = map();
    uint32_t sequence, flags;
    struct head head;
    uint64_t memory;
    if (file == NULL) {
        return false;
    }
    do {
        if (!settled(file, &sequence)) {
            return false;
        }
        head = read_head(file);
        flags = __atomic_load_n(&file->flags, __ATOMIC_RELAXED);
        memory = gpu < VGPU_MAX_GPUS ? __atomic_load_n(&file->gpus[gpu].memory, __ATOMIC_RELAXED) : 0;
    } while (!unchanged(file, sequence));
    if (!known(head)) {
        return false;
    }
    if ((flags & VGPU_POLICY_MEMORY) == 0) {
        *bytes = POLICY_UNLIMITED;
    } else if (gpu >= head.count) {
        *bytes = 0;
    } else {
        *bytes = memory > 0 ? memory : POLICY_UNLIMITED;
    }
    return true;
}

bool policy_compute(unsigned gpu, struct policy_compute *compute) {
    const struct vgpu_policy *file = map();
    uint32_t sequence;
    struct head head;
    if (file == NULL || gpu >= VGPU_MAX_GPUS) {
        return false;
    }
    do {
        if (!settled(file, &sequence)) {
            return false;
        }
        head = read_head(file);
        compute->flags = __atomic_load_n(&file->flags, __ATOMIC_RELAXED);
        compute->compute = __atomic_load_n(&file->compute, __ATOMIC_RELAXED);
        compute->cores = __atomic_load_n(&file->gpus[gpu].cores, __ATOMIC_RELAXED);
        compute->ceiling = __atomic_load_n(&file->gpus[gpu].ceiling, __ATOMIC_RELAXED);
    } while (!unchanged(file, sequence));
    if (!known(head) || gpu >= head.count) {
        return false;
    }
    /* The sequence doesn't guard these. The GPU's two fields are one word. */
    uint64_t moment = __atomic_load_n((const uint64_t *)(const void *)&file->gpus[gpu].current_rate, __ATOMIC_RELAXED);
    compute->current_rate = (uint32_t)moment;
    compute->neighbour_load = (uint32_t)(moment >> 32);
    compute->heartbeat_ns = __atomic_load_n(&file->heartbeat_ns, __ATOMIC_RELAXED);
    return true;
}

bool policy_answer(uint64_t number, struct vgpu_answer *answer) {
    const struct vgpu_policy *file = map();
    if (file == NULL || __atomic_load_n(&file->answer.number, __ATOMIC_ACQUIRE) != number) {
        return false;
    }
    memcpy(answer, &file->answer, sizeof *answer);
    answer->text[VGPU_ANSWER_TEXT - 1] = '\0';
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&file->answer.number, __ATOMIC_RELAXED) == number;
}
