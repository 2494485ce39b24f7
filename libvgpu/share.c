#include "share.h"

#include "account.h"
#include "bucket.h"
#include "budget.h"
#include "ground.h"
#include "policy.h"
#include "quota.h"
#include "rate.h"

/* For so long after another process of the container took GPU time, samples may be disturbed by it. */
#define SIBLING_NS 1000000000u

/* The node agent looks less often while nobody works: others that began with us are known so much later. */
#define UNKNOWN_NS 700000000u
#define AWAY_NS 10000000000u

/* What is owed is paid while less than this lies unspent. */
#define OWED_UNTIL_NS (BUCKET_BURST_NS / 2)

/* From here on who launches often finds the card at work, hundredths of a percent. */
#define CROWDED (BUCKET_WHOLE / 5)

/* Below this the card's other containers are taken to be idle, hundredths of a percent. */
#define IDLE 50u

static struct card {
    struct vgpu_compute *shared;
    _Alignas(
        16) struct vgpu_compute own; /* for a limit of this process alone; and where there is no usage file, for all */
    uint64_t charged; /* by this process */
    int64_t owed; /* to this process, see share_return */
    uint32_t charging; /* threads that are about to have changed both `charged` and the account's sum */
    uint64_t seen; /* what others had charged when last looked */
    uint64_t sibling_at; /* when that last changed */
    uint64_t idle_since; /* when the others were first seen to be idle; 0: they aren't */
    uint64_t viewed_at; /* when last looked for that */
} cards[VGPU_MAX_GPUS];

static struct vgpu_compute *account_of(int card) {
    struct vgpu_compute *account = __atomic_load_n(&cards[card].shared, __ATOMIC_ACQUIRE);
    if (account != NULL) {
        return account;
    }
    account = account_compute((unsigned)card);
    if (account == NULL) {
        account = &cards[card].own;
    }
    cards[card].seen = __atomic_load_n(&account->used, __ATOMIC_RELAXED);
    __atomic_store_n(&cards[card].shared, account, __ATOMIC_RELEASE);
    return account;
}

/* Where there is a policy, the environment's limit is this process's; else it is that of the account. */
static uint32_t shared_rate(int card, uint64_t now) {
    struct rate_policy policy;
    if (ground()->kind != GROUND_POLICY) {
        return rate_of_percent(ground()->cores[card]);
    }
    return policy_compute((unsigned)card, &policy) ? rate_of_policy(&policy, now) : 0;
}

static uint32_t own_rate(int card, uint64_t now) {
    if (ground()->kind != GROUND_POLICY) {
        return 0;
    }
    uint32_t wished = rate_of_percent(ground()->cores[card]);
    if (wished == 0) {
        return 0;
    }
    uint32_t given = shared_rate(card, now);
    return given == 0 || wished < given ? wished : 0;
}

/* What this process took is in the account's sum and in its own. */
static void count(struct card *here, struct vgpu_compute *account, int64_t ns) {
    __atomic_add_fetch(&here->charging, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&account->used, (uint64_t)ns, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&here->charged, (uint64_t)ns, __ATOMIC_SEQ_CST);
    __atomic_sub_fetch(&here->charging, 1, __ATOMIC_SEQ_CST);
}

/* What other processes of the container took; false where that can't be told at this moment. */
static bool taken_by_others(struct card *here, const struct vgpu_compute *account, uint64_t *others) {
    uint64_t charged = __atomic_load_n(&here->charged, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&here->charging, __ATOMIC_SEQ_CST) != 0) {
        return false;
    }
    *others = __atomic_load_n(&account->used, __ATOMIC_SEQ_CST) - charged;
    return __atomic_load_n(&here->charging, __ATOMIC_SEQ_CST) == 0 &&
           __atomic_load_n(&here->charged, __ATOMIC_SEQ_CST) == charged;
}

static void pay(int card) {
    struct card *here = &cards[card];
    int64_t owed = __atomic_load_n(&here->owed, __ATOMIC_RELAXED);
    int64_t room = OWED_UNTIL_NS - __atomic_load_n(&account_of(card)->balance, __ATOMIC_RELAXED);
    int64_t part = owed < room ? owed : room;
    if (part > 0 &&
        __atomic_compare_exchange_n(&here->owed, &owed, owed - part, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        share_give(card, part);
    }
}

int64_t share_take(int card, int64_t cost, int64_t wish, bool *waited) {
    struct card *here = &cards[card];
    struct vgpu_compute *account = account_of(card);
    uint64_t begun = budget_clock();
    pay(card);
    bool own = account != &here->own && own_rate(card, begun) > 0;
    if (own) {
        *waited = budget_await(&here->own, card, own_rate);
    }
    bool slept;
    int64_t taken = budget_take(account, card, cost, wish, shared_rate, &slept);
    *waited = (own && *waited) || slept;
    count(here, account, taken);
    if (own) {
        budget_give(&here->own, -taken);
    }
    return taken;
}

void share_give(int card, int64_t ns) {
    struct card *here = &cards[card];
    struct vgpu_compute *account = account_of(card);
    budget_give(account, ns);
    count(here, account, -ns);
    if (account != &here->own && own_rate(card, budget_clock()) > 0) {
        budget_give(&here->own, ns);
    }
}

void share_return(int card, int64_t ns) {
    if (!share_limited(card)) {
        share_give(card, ns);
        return;
    }
    __atomic_add_fetch(&cards[card].owed, ns, __ATOMIC_RELAXED);
    pay(card);
}

void share_after_fork(void) {
    for (int card = 0; card < VGPU_MAX_GPUS; card++) {
        cards[card].owed = 0;
    }
}

bool share_limited(int card) {
    uint64_t now = budget_clock();
    return shared_rate(card, now) > 0 || own_rate(card, now) > 0;
}

static enum estimate_view view_others(int card, uint64_t now) {
    struct card *here = &cards[card];
    struct rate_policy policy;
    bool told = policy_compute((unsigned)card, &policy) && rate_is_fresh(&policy, now);
    uint64_t since = __atomic_load_n(&here->idle_since, __ATOMIC_RELAXED);
    uint64_t viewed_at = __atomic_exchange_n(&here->viewed_at, now, __ATOMIC_RELAXED);
    bool busy = told && policy.others > IDLE;
    if (!told || busy) {
        since = 0;
    } else if (since == 0 || now > viewed_at + AWAY_NS) {
        since = now;
    }
    __atomic_store_n(&here->idle_since, since, __ATOMIC_RELAXED);
    if (busy) {
        return ESTIMATE_CONTENDED;
    }
    return since != 0 && now >= since + UNKNOWN_NS ? ESTIMATE_CLEAR : ESTIMATE_UNCERTAIN;
}

enum estimate_view share_view(int card) {
    struct card *here = &cards[card];
    uint64_t now = budget_clock();
    uint64_t others;
    if (taken_by_others(here, account_of(card), &others) &&
        __atomic_exchange_n(&here->seen, others, __ATOMIC_RELAXED) != others) {
        __atomic_store_n(&here->sibling_at, now, __ATOMIC_RELAXED);
    }
    uint64_t at = __atomic_load_n(&here->sibling_at, __ATOMIC_RELAXED);
    if (at != 0 && now < at + SIBLING_NS) {
        return ESTIMATE_COMPANY;
    }
    /* Without a policy there is no node agent that could tell, and most often nobody else. */
    if (ground()->kind != GROUND_POLICY) {
        return ESTIMATE_CLEAR;
    }
    return view_others(card, now);
}

bool share_crowded(int card) {
    struct rate_policy policy;
    uint64_t now = budget_clock();
    uint32_t own = own_rate(card, now), busy = own > 0 ? own : shared_rate(card, now);
    if (busy == 0) {
        return true;
    }
    if (ground()->kind == GROUND_POLICY && policy_compute((unsigned)card, &policy) && rate_is_fresh(&policy, now)) {
        busy += policy.others;
    }
    return busy >= CROWDED;
}

bool share_ready(int card) {
    struct card *here = &cards[card];
    struct vgpu_compute *account = account_of(card);
    return budget_ready(account, card, shared_rate) &&
           (account == &here->own || budget_ready(&here->own, card, own_rate));
}

bool share_begin_learning(int card, uint64_t before, uint64_t now) {
    return budget_begin_learning(account_of(card), before, now);
}

void share_end_learning(int card, uint64_t begun) {
    budget_end_learning(account_of(card), begun);
}

uint64_t share_learning(int card) {
    return budget_learning(account_of(card));
}

uint64_t share_part(int card, uint64_t own, uint64_t elapsed, uint64_t now) {
    return budget_part(account_of(card), own, elapsed, now);
}
