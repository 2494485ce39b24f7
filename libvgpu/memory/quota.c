#include "libvgpu/memory/quota.h"

#include <stdlib.h>

#include "libvgpu/base/config.h"
#include "libvgpu/base/log.h"
#include "libvgpu/base/names.h"
#include "libvgpu/memory/limit_words.h"
#include "libvgpu/shared/account.h"
#include "libvgpu/shared/policy.h"
#include "libvgpu/shared/slot_txn.h"
#include "libvgpu/shared/wish.h"

#define MIB(bytes) ((unsigned long long)(bytes) >> 20)

/* False where the policy, which there has to be, can't be used; policy.c has logged why. */
static bool find_limit(int gpu, uint64_t *limit) {
    const struct config *here = config();
    *limit = QUOTA_UNLIMITED;
    wish_settle();
    /* A GPU that the policy doesn't name is looked up past its end. */
    if (here->kind == CONFIG_POLICY && !policy_limit(gpu == NO_GPU ? VGPU_MAX_GPUS : (unsigned)gpu, limit)) {
        return false;
    }
    if (gpu == NO_GPU) {
        return true;
    }
    static bool compared[VGPU_MAX_GPUS];
    if (__builtin_expect(!__atomic_load_n(&compared[gpu], __ATOMIC_RELAXED) || here->limits[gpu] > *limit, 0)) {
        __atomic_store_n(&compared[gpu], true, __ATOMIC_RELAXED);
        limit_words_say(gpu, *limit);
    }
    if (here->unreadable[gpu]) {
        *limit = 0;
    } else if (here->limits[gpu] > 0) {
        *limit = here->limits[gpu] < *limit ? here->limits[gpu] : *limit;
    }
    return true;
}

uint64_t quota_limit(int gpu) {
    uint64_t limit;
    return find_limit(gpu, &limit) ? limit : 0;
}

static enum quota_answer take(int gpu, uint64_t bytes, bool count_refusal) {
    uint64_t limit;
    if (bytes == 0) {
        return QUOTA_UNCOUNTED;
    }
    if (!find_limit(gpu, &limit)) {
        return QUOTA_REFUSED;
    }
    bool limited = limit != QUOTA_UNLIMITED;
    if (gpu != NO_GPU) {
        switch (account_take((unsigned)gpu, bytes, limited ? limit : SLOT_TXN_NO_LIMIT, count_refusal)) {
        case ACCOUNT_NEAR: return QUOTA_NEAR;
        case ACCOUNT_TAKEN: return QUOTA_TAKEN;
        case ACCOUNT_REFUSED: break;
        }
    }
    if (!limited) {
        return QUOTA_UNCOUNTED;
    }
    if (gpu == NO_GPU) {
        LOG_ONCE(LOG_ERROR, "memory of a GPU that this container was not given is refused");
    } else if (count_refusal) {
        /* Otherwise another line has said why. */
        if (limit > 0 && account_usable()) {
            LOG_ONCE(LOG_ERROR,
                     "GPU %d: %llu MiB are refused; of the limit of %llu MiB, %llu MiB are in use. Later refusals are "
                     "logged with " UNIGPU_ENV_LIBRARY_LOG "=info",
                     gpu, MIB(bytes + (1 << 20) - 1), MIB(limit), MIB(account_used((unsigned)gpu)));
        }
        log_write(LOG_INFO, "refused %llu bytes of GPU %d: the limit is %llu", (unsigned long long)bytes, gpu,
                  (unsigned long long)limit);
    }
    return QUOTA_REFUSED;
}

enum quota_answer quota_take(int gpu, uint64_t bytes) {
    return take(gpu, bytes, true);
}

enum quota_answer quota_try(int gpu, uint64_t bytes) {
    return take(gpu, bytes, false);
}

void quota_give(int gpu, uint64_t bytes) {
    if (gpu != NO_GPU && bytes > 0) {
        account_give((unsigned)gpu, bytes);
    }
}

void quota_note_kind(int gpu, enum account_kind kind, int64_t bytes) {
    if (gpu != NO_GPU) {
        account_note_kind((unsigned)gpu, kind, bytes);
    }
}

uint64_t quota_used(int gpu) {
    return gpu == NO_GPU ? 0 : account_used((unsigned)gpu);
}

uint64_t quota_total(int gpu) {
    return gpu == NO_GPU ? 0 : account_total((unsigned)gpu);
}

uint64_t quota_own(int gpu) {
    return gpu == NO_GPU ? 0 : account_own((unsigned)gpu);
}

bool quota_counted_already(int gpu, uint64_t bytes) {
    unsigned count;
    if (gpu == NO_GPU) {
        return false;
    }
    struct account_process *processes = account_processes((unsigned)gpu, &count);
    bool found = false;
    for (unsigned place = 0; place < count; place++) {
        found |= processes[place].used >= bytes;
    }
    free(processes);
    return found;
}
