#include "account.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "change.h"
#include "ground.h"
#include "lock.h"
#include "message.h"
#include "process.h"
#include "usage_file.h"

#define NO_SLOT VGPU_SLOTS

/* Every so many changes the slot's lock is taken again: a program that closes files wholesale loses it unawares. */
#define RELOCK_EVERY 64

/* What a fork must not inherit: the child gets a page of zeros, and so begins anew. */
struct own {
    struct lock lock;
    bool begun;
    unsigned slot;
    unsigned until_relock;
};

static struct own *own;

/* What a fork does inherit: the mapping, and the descriptor, on which each process has its own locks. */
static struct usage_file shared;

static struct own *own_page(void) {
    static struct lock lock;
    struct own *page = __atomic_load_n(&own, __ATOMIC_ACQUIRE);
    if (page != NULL) {
        return page;
    }
    lock_take(&lock);
    if (own == NULL) {
        page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED || madvise(page, sizeof *page, MADV_WIPEONFORK) != 0) {
            MESSAGE_ONCE(MESSAGE_ERROR, "a page that forks begin anew with can't be had (error %d)", errno);
        }
        if (page != MAP_FAILED) {
            __atomic_store_n(&own, page, __ATOMIC_RELEASE);
        }
    }
    lock_give(&lock);
    return own;
}

/* Takes the account's lock among threads, with the usage file mapped; NULL where that can't be. */
static struct own *enter(void) {
    struct own *mine = own_page();
    if (mine == NULL) {
        return NULL;
    }
    lock_take(&mine->lock);
    if (!mine->begun) {
        mine->begun = true;
        mine->slot = NO_SLOT;
        if (shared.view == NULL || !usage_file_is_open(&shared)) {
            usage_file_open(&shared, ground()->usage, ground()->made_by_agent);
        }
    }
    if (shared.view != NULL) {
        return mine;
    }
    lock_give(&mine->lock);
    return NULL;
}

/* No process of the slot's number and start lives on, as one may that lost its lock. */
static bool is_left(unsigned slot) {
    const struct vgpu_slot *owner = &shared.view->slots[slot];
    return __atomic_load_n(&owner->state, __ATOMIC_ACQUIRE) == 0 || !process_lives(owner->pid, owner->start);
}

static bool is_dead(unsigned slot) {
    if (usage_file_is_locked(&shared, slot) || !is_left(slot)) {
        return false;
    }
    message(MESSAGE_DEBUG, "giving back what process %u left in slot %u", shared.view->slots[slot].pid, slot);
    return true;
}

/* Gives back the memory of the card that processes which died had. */
static void bury(const struct own *mine, unsigned card) {
    struct vgpu_usage *view = shared.view;
    for (unsigned slot = 0; slot < VGPU_SLOTS; slot++) {
        if (slot != mine->slot && __atomic_load_n(&view->slots[slot].state, __ATOMIC_ACQUIRE) != 0) {
            change_bury(view, slot, card, is_dead);
        }
    }
}

/* Locks a slot that nobody owns and readies it. Any step of this may be the last one of this process: the next one goes
 * on. What the slot has in the totals is given back first, as nobody else can tell while we hold its lock. */
static bool seize(unsigned slot) {
    struct vgpu_usage *view = shared.view;
    bool taken = __atomic_load_n(&view->slots[slot].state, __ATOMIC_ACQUIRE) != 0;
    for (unsigned card = 0; taken && card < VGPU_MAX_GPUS; card++) {
        if (!change_bury(view, slot, card, is_dead)) {
            return false;
        }
    }
    if (!usage_file_lock(&shared, slot)) {
        return false;
    }
    if (!is_left(slot)) {
        usage_file_unlock(&shared, slot);
        return false;
    }
    for (unsigned card = 0; card < VGPU_MAX_GPUS; card++) {
        change_bury(view, slot, card, NULL);
        change_reset(view, slot, card);
    }
    return true;
}

static bool claim(struct own *mine) {
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
        __atomic_store_n(&view->slots[slot].state, 1, __ATOMIC_RELEASE);
        mine->slot = slot;
        mine->until_relock = RELOCK_EVERY;
        return true;
    }
    MESSAGE_ONCE(MESSAGE_ERROR, "%u processes use GPUs in this container already: GPU memory is refused", VGPU_SLOTS);
    return false;
}

bool account_take(unsigned card, uint64_t bytes, uint64_t limit, bool count_refusal) {
    struct own *mine = enter();
    if (mine == NULL) {
        return false;
    }
    bool taken = false;
    if (bytes <= INT64_MAX && claim(mine)) {
        taken = change_make(shared.view, mine->slot, card, (int64_t)bytes, limit);
        if (!taken) {
            bury(mine, card);
            taken = change_make(shared.view, mine->slot, card, (int64_t)bytes, limit);
        }
    }
    if (!taken && count_refusal) {
        __atomic_add_fetch(&shared.view->totals[card].refused, 1, __ATOMIC_RELAXED);
    }
    lock_give(&mine->lock);
    return taken;
}

void account_give(unsigned card, uint64_t bytes) {
    struct own *mine = enter();
    if (mine == NULL) {
        return;
    }
    if (mine->slot != NO_SLOT) {
        change_make(shared.view, mine->slot, card, -(int64_t)bytes, CHANGE_NO_LIMIT);
    }
    lock_give(&mine->lock);
}

uint64_t account_used(unsigned card) {
    struct own *mine = enter();
    if (mine == NULL) {
        return 0;
    }
    bury(mine, card);
    uint64_t used = __atomic_load_n(&shared.view->totals[card].used, __ATOMIC_ACQUIRE);
    lock_give(&mine->lock);
    return used;
}

bool account_usable(void) {
    struct own *mine = enter();
    if (mine == NULL) {
        return false;
    }
    lock_give(&mine->lock);
    return true;
}

unsigned account_processes(unsigned card, struct account_process *processes, unsigned room) {
    struct own *mine = enter();
    if (mine == NULL) {
        return 0;
    }
    bury(mine, card);
    const struct vgpu_usage *view = shared.view;
    unsigned count = 0;
    for (unsigned slot = 0; slot < VGPU_SLOTS; slot++) {
        if (__atomic_load_n(&view->slots[slot].state, __ATOMIC_ACQUIRE) == 0) {
            continue;
        }
        uint64_t used = change_slot_used(view, slot, card);
        if (used == 0) {
            continue;
        }
        if (count < room) {
            processes[count] = (struct account_process){view->slots[slot].pid, used};
        }
        count++;
    }
    lock_give(&mine->lock);
    return count;
}

uint64_t account_context_cost(unsigned card) {
    struct own *mine = enter();
    if (mine == NULL) {
        return 0;
    }
    uint64_t bytes = __atomic_load_n(&shared.view->totals[card].context, __ATOMIC_RELAXED);
    lock_give(&mine->lock);
    return bytes;
}

void account_note_context_cost(unsigned card, uint64_t bytes) {
    struct own *mine = enter();
    if (mine == NULL) {
        return;
    }
    __atomic_store_n(&shared.view->totals[card].context, bytes, __ATOMIC_RELAXED);
    lock_give(&mine->lock);
}

struct vgpu_compute *account_compute(unsigned card) {
    struct own *mine = enter();
    if (mine == NULL) {
        return NULL;
    }
    struct vgpu_compute *compute = &shared.view->compute[card];
    lock_give(&mine->lock);
    return compute;
}
