#include "quota.h"

#include "account.h"
#include "change.h"
#include "ground.h"
#include "message.h"
#include "policy.h"

/* False: there has to be a policy, and none that can be used, which was said. */
static bool find_limit(int card, uint64_t *limit) {
    const struct ground *here = ground();
    *limit = QUOTA_UNLIMITED;
    /* A card that the policy doesn't name stands past its end. */
    if (here->kind == GROUND_POLICY && !policy_limit(card == NO_CARD ? VGPU_MAX_GPUS : (unsigned)card, limit)) {
        return false;
    }
    if (card != NO_CARD && here->limits[card] > 0 && here->limits[card] < *limit) {
        *limit = here->limits[card];
    }
    return true;
}

uint64_t quota_limit(int card) {
    uint64_t limit;
    return find_limit(card, &limit) ? limit : 0;
}

static enum quota_answer take(int card, uint64_t bytes, bool count_refusal) {
    uint64_t limit;
    if (bytes == 0) {
        return QUOTA_UNCOUNTED;
    }
    if (!find_limit(card, &limit)) {
        return QUOTA_REFUSED;
    }
    bool limited = limit != QUOTA_UNLIMITED;
    if (card != NO_CARD && account_take((unsigned)card, bytes, limited ? limit : CHANGE_NO_LIMIT, count_refusal)) {
        return QUOTA_TAKEN;
    }
    if (!limited) {
        return QUOTA_UNCOUNTED;
    }
    if (card == NO_CARD) {
        MESSAGE_ONCE(MESSAGE_ERROR, "memory of a GPU that this container was not given is refused");
    } else if (count_refusal) {
        message(MESSAGE_INFO, "refused %llu bytes of GPU %d: the limit is %llu", (unsigned long long)bytes, card,
                (unsigned long long)limit);
    }
    return QUOTA_REFUSED;
}

enum quota_answer quota_take(int card, uint64_t bytes) {
    return take(card, bytes, true);
}

enum quota_answer quota_try(int card, uint64_t bytes) {
    return take(card, bytes, false);
}

void quota_give(int card, uint64_t bytes) {
    if (card != NO_CARD && bytes > 0) {
        account_give((unsigned)card, bytes);
    }
}

uint64_t quota_used(int card) {
    return card == NO_CARD ? 0 : account_used((unsigned)card);
}
