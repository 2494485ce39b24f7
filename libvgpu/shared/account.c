#include "libvgpu/shared/account.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libvgpu/base/config.h"
#include "libvgpu/base/lock.h"
#include "libvgpu/base/log.h"
#include "libvgpu/shared/process.h"
#include "libvgpu/shared/slot_txn.h"
#include "libvgpu/shared/usage_file.h"

#define NO_SLOT VGPU_SLOTS

/* After so many changes the slot's lock is taken again: a program that closes all its files loses it without knowing.
 */
#define RELOCK_EVERY 1024

/* Less than a part of the limit is left, or less than what the code of a large framework takes. */
#define NEAR_PART 4
#define NEAR_BYTES (UINT64_C(1) << 30)

/* State that a fork must not inherit: the kernel gives the child a page of zeros, so the child takes a slot of its own.
 */
struct own {
    struct mutex lock;
    bool begun;
    unsigned slot;
    unsigned until_relock;
};

static struct own *own;

/* State that a fork inherits: the mapping, and the descriptor, on which each process has its own locks. */
static struct usage_file shared;

static struct own *own_page(void) {
    MUTEX(lock);
    struct own *page = __atomic_load_n(&own, __ATOMIC_ACQUIRE);
    if (page != NULL) {
        return page;
    }
    mutex_lock(&lock);
    if (own == NULL) {
        page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED || madvise(page, sizeof *page, MADV_WIPEONFORK) != 0) {
            LOG_ONCE(LOG_ERROR, "no page can be mapped that is wiped in the child of a fork (error %d)", errno);
        }
        if (page != MAP_FAILED) {
            __atomic_store_n(&own, page, __ATOMIC_RELEASE);
        }
    }
    mutex_unlock(&lock);
    return own;
}

/* Locks the account against other threads, and maps the usage file; NULL where that can't be. */
static struct own *enter(void) {
    struct own *mine = own_page();
    if (mine == NULL) {
        return NULL;
    }
    mutex_lock(&mine->lock);
    if (!mine->begun) {
        mine->begun = true;
        mine->slot = NO_SLOT;
        if (shared.view == NULL || !usage_file_is_open(&shared)) {
            usage_file_open(&shared, config()->usage, config()->made_by_agent);
        }
    }
    if (shared.view != NULL) {
        return mine;
    }
    mutex_unlock(&mine->lock);
    return NULL;
}

/* Whether no process of the slot's number and start time lives. One may live and have lost its lock. */
static bool is_left(unsigned slot) {
    const struct vgpu_slot *owner = &shared.view->slots[slot];
    return __atomic_load_n(&owner->state, __ATOMIC_ACQUIRE) == 0 || !process_lives(owner->pid, owner->start);
}

/* Whether this process took the slot as another program, before it called exec. */
static bool is_our_past(unsigned slot) {
    const struct vgpu_slot *owner = &shared.view->slots[slot];
    return owner->pid == (uint32_t)getpid() && owner->start != 0 && owner->start == process_start(owner->pid);
}

static bool is_dead(unsigned slot) {
    if (usage_file_is_locked(&shared, slot) || !is_left(slot)) {
        return false;
    }
    log_write(LOG_DEBUG, "giving back what process %u left in slot %u", shared.view->slots[slot].pid, slot);
    return true;
}

/* Gives back the GPU memory that dead processes had. */
static void reclaim(const struct own *mine, unsigned gpu) {
    struct vgpu_usage *view = shared.view;
    for (unsigned slot = 0; slot < VGPU_SLOTS; slot++) {
        if (slot != mine->slot && __atomic_load_n(&view->slots[slot].state, __ATOMIC_ACQUIRE) != 0) {
            slot_txn_reclaim(view, slot, gpu, is_dead);
        }
    }
}

/* Locks a free slot and readies it. The process may die after any step, and the next one then continues. What the slot
 * has in the totals is given back first: while we hold the lock, no other process can see that its owner is dead. */
static bool seize(unsigned slot) {
    struct vgpu_usage *view = shared.view;
    bool taken = __atomic_load_n(&view->slots[slot].state, __ATOMIC_ACQUIRE) != 0;
    bool past = taken && is_our_past(slot);
    for (unsigned gpu = 0; taken && !past && gpu < VGPU_MAX_GPUS; gpu++) {
        if (!slot_txn_reclaim(view, slot, gpu, is_dead)) {
            return false;
        }
    }
    if (!usage_file_lock(&shared, slot)) {
        return false;
    }
    if (!past && !is_left(slot)) {
        usage_file_unlock(&shared, slot);
        return false;
    }
    for (unsigned gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        slot_txn_reclaim(view, slot, gpu, NULL);
        slot_txn_reset(view, slot, gpu);
    }
    return true;
}

/* The kinds are of this process from here on. Before the slot is ready, as the number tells whom the record is of. */
static void begin_kinds(unsigned slot, uint64_t start) {
    struct vgpu_kinds *kinds = &shared.view->kinds[slot];
    __atomic_store_n(&kinds->of, 0, __ATOMIC_RELEASE);
    for (unsigned gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        __atomic_store_n(&kinds->gpus[gpu].context, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&kinds->gpus[gpu].code, 0, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&kinds->of, start + 1, __ATOMIC_RELEASE);
}

static bool reservation(struct own *mine) {
    if (mine->slot != NO_SLOT) {
        if (mine->until_relock-- > 0) {
            return true;
        }
        mine->until_relock = RELOCK_EVERY;
        usage_file_lock(&shared, mine->slot);
        return true;
    }
    struct vgpu_usage *view = shared.view;
    unsigned first = (unsigned)getpid() % VGPU_SLOTS;
    for (unsigned turn = 0; turn < VGPU_SLOTS; turn++) {
        unsigned slot = (first + turn) % VGPU_SLOTS;
        if (!seize(slot)) {
            continue;
        }
        __atomic_store_n(&view->slots[slot].state, 0, __ATOMIC_RELEASE);
        view->slots[slot].pid = (uint32_t)getpid();
        view->slots[slot].start = process_start((uint32_t)getpid());
        begin_kinds(slot, view->slots[slot].start);
        __atomic_store_n(&view->slots[slot].state, 1, __ATOMIC_RELEASE);
        mine->slot = slot;
        mine->until_relock = RELOCK_EVERY;
        return true;
    }
    LOG_ONCE(LOG_ERROR, "%u processes use GPUs in this container already: GPU memory is refused", VGPU_SLOTS);
    return false;
}

static uint64_t implicit(unsigned gpu) {
    return __atomic_load_n(&shared.view->totals[gpu].implicit, __ATOMIC_RELAXED);
}

static bool is_near(unsigned gpu, uint64_t limit) {
    uint64_t used = __atomic_load_n(&shared.view->totals[gpu].used, __ATOMIC_RELAXED);
    uint64_t left = limit > used ? limit - used : 0;
    return left < NEAR_BYTES || left < limit / NEAR_PART;
}

enum account_answer account_take(unsigned gpu, uint64_t bytes, uint64_t limit, bool count_refusal) {
    struct own *mine = enter();
    if (mine == NULL) {
        return ACCOUNT_REFUSED;
    }
    bool taken = false, limited = limit != SLOT_TXN_NO_LIMIT;
    if (limited) {
        uint64_t more = implicit(gpu);
        limit = limit > more ? limit - more : 0;
    }
    if (bytes <= INT64_MAX && reservation(mine)) {
        taken = slot_txn_commit(shared.view, mine->slot, gpu, (int64_t)bytes, limit);
        if (!taken) {
            reclaim(mine, gpu);
            taken = slot_txn_commit(shared.view, mine->slot, gpu, (int64_t)bytes, limit);
        }
    }
    if (!taken && count_refusal) {
        __atomic_add_fetch(&shared.view->totals[gpu].refused, 1, __ATOMIC_RELAXED);
    }
    enum account_answer answer = !taken                           ? ACCOUNT_REFUSED
                                 : limited && is_near(gpu, limit) ? ACCOUNT_NEAR
                                                                  : ACCOUNT_TAKEN;
    mutex_unlock(&mine->lock);
    return answer;
}

void account_give(unsigned gpu, uint64_t bytes) {
    struct own *mine = enter();
    if (mine == NULL) {
        return;
    }
    if (mine->slot != NO_SLOT) {
        slot_txn_commit(shared.view, mine->slot, gpu, -(int64_t)bytes, SLOT_TXN_NO_LIMIT);
    }
    mutex_unlock(&mine->lock);
}

void account_note_kind(unsigned gpu, enum account_kind kind, int64_t bytes) {
    struct own *mine = kind == ACCOUNT_DATA || bytes == 0 ? NULL : enter();
    if (mine == NULL) {
        return;
    }
    if (mine->slot != NO_SLOT) {
        struct vgpu_kinds_gpu *kinds = &shared.view->kinds[mine->slot].gpus[gpu];
        uint64_t *noted = kind == ACCOUNT_CONTEXT ? &kinds->context : &kinds->code;
        uint64_t has = __atomic_load_n(noted, __ATOMIC_RELAXED);
        uint64_t next = bytes < 0 && (uint64_t)-bytes > has ? 0 : has + (uint64_t)bytes;
        __atomic_store_n(noted, next, __ATOMIC_RELEASE);
        __atomic_add_fetch(&shared.view->totals[gpu].kinds, 1, __ATOMIC_RELEASE);
    }
    mutex_unlock(&mine->lock);
}

void account_count_launches(unsigned gpu, uint64_t launches) {
    struct own *mine = enter();
    if (mine == NULL) {
        return;
    }
    __atomic_add_fetch(&shared.view->totals[gpu].launches, launches, __ATOMIC_RELAXED);
    mutex_unlock(&mine->lock);
}

uint64_t account_used(unsigned gpu) {
    struct own *mine = enter();
    if (mine == NULL) {
        return 0;
    }
    reclaim(mine, gpu);
    uint64_t used = __atomic_load_n(&shared.view->totals[gpu].used, __ATOMIC_ACQUIRE) + implicit(gpu);
    mutex_unlock(&mine->lock);
    return used;
}

uint64_t account_total(unsigned gpu) {
    struct own *mine = enter();
    if (mine == NULL) {
        return 0;
    }
    uint64_t used = __atomic_load_n(&shared.view->totals[gpu].used, __ATOMIC_ACQUIRE) + implicit(gpu);
    mutex_unlock(&mine->lock);
    return used;
}

uint64_t account_own(unsigned gpu) {
    struct own *mine = enter();
    if (mine == NULL) {
        return 0;
    }
    uint64_t used = mine->slot != NO_SLOT ? slot_txn_used(shared.view, mine->slot, gpu) : 0;
    mutex_unlock(&mine->lock);
    return used;
}

bool account_usable(void) {
    struct own *mine = enter();
    if (mine == NULL) {
        return false;
    }
    mutex_unlock(&mine->lock);
    return true;
}

struct usage_file *account_file(void) {
    return account_usable() ? &shared : NULL;
}

static unsigned list(const struct vgpu_usage *view, unsigned gpu, struct account_process *processes, unsigned room) {
    unsigned count = 0;
    for (unsigned slot = 0; slot < VGPU_SLOTS; slot++) {
        if (__atomic_load_n(&view->slots[slot].state, __ATOMIC_ACQUIRE) == 0) {
            continue;
        }
        uint64_t used = slot_txn_used(view, slot, gpu);
        if (used == 0) {
            continue;
        }
        if (count < room) {
            processes[count] = (struct account_process){view->slots[slot].pid, used};
        }
        count++;
    }
    return count < room || room == 0 ? count : room;
}

struct account_process *account_processes(unsigned gpu, unsigned *count) {
    struct own *mine = enter();
    *count = 0;
    if (mine == NULL) {
        return NULL;
    }
    reclaim(mine, gpu);
    unsigned room = list(shared.view, gpu, NULL, 0);
    mutex_unlock(&mine->lock);
    struct account_process *processes = room > 0 ? calloc(room, sizeof *processes) : NULL;
    if (processes != NULL) {
        *count = list(shared.view, gpu, processes, room);
    }
    return processes;
}

uint64_t account_context_cost(unsigned gpu) {
    struct own *mine = enter();
    if (mine == NULL) {
        return 0;
    }
    uint64_t bytes = __atomic_load_n(&shared.view->totals[gpu].context, __ATOMIC_RELAXED);
    mutex_unlock(&mine->lock);
    return bytes;
}

void account_note_context_cost(unsigned gpu, uint64_t bytes) {
    struct own *mine = enter();
    if (mine == NULL) {
        return;
    }
    __atomic_store_n(&shared.view->totals[gpu].context, bytes, __ATOMIC_RELAXED);
    mutex_unlock(&mine->lock);
}

uint64_t account_implicit(unsigned gpu) {
    struct own *mine = enter();
    if (mine == NULL) {
        return 0;
    }
    uint64_t bytes = implicit(gpu);
    mutex_unlock(&mine->lock);
    return bytes;
}

void account_note_implicit(unsigned gpu, uint64_t bytes) {
    struct own *mine = enter();
    if (mine == NULL) {
        return;
    }
    __atomic_store_n(&shared.view->totals[gpu].implicit, bytes, __ATOMIC_RELAXED);
    mutex_unlock(&mine->lock);
}

struct vgpu_compute *account_compute(unsigned gpu) {
    struct own *mine = enter();
    if (mine == NULL) {
        return NULL;
    }
    struct vgpu_compute *compute = &shared.view->compute[gpu];
    mutex_unlock(&mine->lock);
    return compute;
}
