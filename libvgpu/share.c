#include "share.h"

#include "account.h"
#include "budget.h"
#include "ground.h"
#include "policy.h"
#include "quota.h"
#include "rate.h"

/* For so long after another process of the container took GPU time, samples may be disturbed by it. */
#define SIBLING_NS 1000000000u

/* Below this the card's other containers are taken to be idle, hundredths of a percent. */
#define IDLE 50u

static struct card {
    struct vgpu_compute *shared;
    _Alignas(16) struct vgpu_compute own; /* for a limit of this process alone; and where there is no usage file, for all */
    uint64_t charged;        /* by this process */
    uint32_t charging;       /* threads that are about to have changed both `charged` and the account's sum */
    uint64_t seen;           /* what others had charged when last looked */
    uint64_t sibling_at;     /* when that last changed */
} cards[VGPU_MAX_GPUS];

static struct vgpu_compute *account_of(int card)
{
    struct vgpu_compute *account = __atomic_load_n(&cards[card].shared, __ATOMIC_ACQUIRE);
    if (account != NULL)
        return account;
    account = account_compute((unsigned)card);
    if (account == NULL)
        account = &cards[card].own;
    cards[card].seen = __atomic_load_n(&account->used, __ATOMIC_RELAXED);
    __atomic_store_n(&cards[card].shared, account, __ATOMIC_RELEASE);
    return account;
}

/* Where there is a policy, the environment's limit is this process's; else it is that of the account. */
static uint32_t shared_rate(int card, uint64_t now)
{
    struct rate_policy policy;
    if (ground()->kind != GROUND_POLICY)
        return rate_of_percent(ground()->cores[card]);
    return policy_compute((unsigned)card, &policy) ? rate_of_policy(&policy, now) : 0;
}

static uint32_t own_rate(int card, uint64_t now)
{
    if (ground()->kind != GROUND_POLICY)
        return 0;
    uint32_t wished = rate_of_percent(ground()->cores[card]);
    if (wished == 0)
        return 0;
    uint32_t given = shared_rate(card, now);
    return given == 0 || wished < given ? wished : 0;
}

/* What this process took is in the account's sum and in its own. */
static void count(struct card *here, struct vgpu_compute *account, int64_t ns)
{
    __atomic_add_fetch(&here->charging, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&account->used, (uint64_t)ns, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&here->charged, (uint64_t)ns, __ATOMIC_SEQ_CST);
    __atomic_sub_fetch(&here->charging, 1, __ATOMIC_SEQ_CST);
}

/* What other processes of the container took; false where that can't be told at this moment. */
static bool taken_by_others(struct card *here, const struct vgpu_compute *account, uint64_t *others)
{
    uint64_t charged = __atomic_load_n(&here->charged, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&here->charging, __ATOMIC_SEQ_CST) != 0)
        return false;
    *others = __atomic_load_n(&account->used, __ATOMIC_SEQ_CST) - charged;
    return __atomic_load_n(&here->charging, __ATOMIC_SEQ_CST) == 0
        && __atomic_load_n(&here->charged, __ATOMIC_SEQ_CST) == charged;
}

int64_t share_take(int card, int64_t cost, int64_t wish, bool *waited)
{
    struct card *here = &cards[card];
    struct vgpu_compute *account = account_of(card);
    uint64_t begun = budget_clock();
    bool own = account != &here->own && own_rate(card, begun) > 0;
    if (own)
        *waited = budget_await(&here->own, card, own_rate);
    bool slept;
    int64_t taken = budget_take(account, card, cost, wish, shared_rate, &slept);
    *waited = (own && *waited) || slept;
    count(here, account, taken);
    if (own)
        budget_give(&here->own, -taken);
    return taken;
}

void share_give(int card, int64_t ns)
{
    struct card *here = &cards[card];
    struct vgpu_compute *account = account_of(card);
    budget_give(account, ns);
    count(here, account, -ns);
    if (account != &here->own && own_rate(card, budget_clock()) > 0)
        budget_give(&here->own, ns);
}

bool share_limited(int card)
{
    uint64_t now = budget_clock();
    return shared_rate(card, now) > 0 || own_rate(card, now) > 0;
}

enum estimate_view share_view(int card)
{
    struct card *here = &cards[card];
    uint64_t now = budget_clock();
    uint64_t others;
    if (taken_by_others(here, account_of(card), &others)
        && __atomic_exchange_n(&here->seen, others, __ATOMIC_RELAXED) != others)
        __atomic_store_n(&here->sibling_at, now, __ATOMIC_RELAXED);
    uint64_t at = __atomic_load_n(&here->sibling_at, __ATOMIC_RELAXED);
    if (at != 0 && now < at + SIBLING_NS)
        return ESTIMATE_COMPANY;
    struct rate_policy policy;
    /* Without a policy there is no node agent that could tell, and most often nobody else. */
    if (ground()->kind != GROUND_POLICY)
        return ESTIMATE_CLEAR;
    if (!policy_compute((unsigned)card, &policy) || !rate_is_fresh(&policy, now))
        return ESTIMATE_UNCERTAIN;
    return policy.others > IDLE ? ESTIMATE_CONTENDED : ESTIMATE_CLEAR;
}

bool share_ready(int card)
{
    struct card *here = &cards[card];
    struct vgpu_compute *account = account_of(card);
    return budget_ready(account, card, shared_rate)
        && (account == &here->own || budget_ready(&here->own, card, own_rate));
}

bool share_begin_learning(int card, uint64_t before, uint64_t now)
{
    return budget_begin_learning(account_of(card), before, now);
}

void share_end_learning(int card, uint64_t begun)
{
    budget_end_learning(account_of(card), begun);
}

uint64_t share_learning(int card)
{
    return budget_learning(account_of(card));
}

uint64_t share_part(int card, uint64_t elapsed, uint64_t now)
{
    return budget_part(account_of(card), elapsed, now);
}
