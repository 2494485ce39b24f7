#include "quota.h"

#include "account.h"
#include "change.h"
#include "ground.h"
#include "message.h"
#include "policy.h"

uint64_t quota_limit(int card)
{
    const struct ground *here = ground();
    uint64_t limit = QUOTA_UNLIMITED;
    /* A card that the policy doesn't name stands past its end. */
    if (here->kind == GROUND_POLICY && !policy_limit(card == NO_CARD ? VGPU_MAX_GPUS : (unsigned)card, &limit))
        return 0;
    if (card != NO_CARD && here->limits[card] > 0 && here->limits[card] < limit)
        limit = here->limits[card];
    return limit;
}

static enum quota_answer take(int card, uint64_t bytes, bool count_refusal)
{
    if (bytes == 0)
        return QUOTA_UNCOUNTED;
    uint64_t limit = quota_limit(card);
    if (card == NO_CARD) {
        if (limit == QUOTA_UNLIMITED)
            return QUOTA_UNCOUNTED;
        MESSAGE_ONCE(MESSAGE_ERROR, "memory of a GPU that this container was not given is refused");
        return QUOTA_REFUSED;
    }
    bool limited = limit != QUOTA_UNLIMITED;
    if (account_take((unsigned)card, bytes, limited ? limit : CHANGE_NO_LIMIT, count_refusal))
        return QUOTA_TAKEN;
    if (!limited)
        return QUOTA_UNCOUNTED;
    if (count_refusal)
        message(MESSAGE_INFO, "refused %llu bytes of GPU %d: the limit is %llu", (unsigned long long)bytes, card,
            (unsigned long long)limit);
    return QUOTA_REFUSED;
}

enum quota_answer quota_take(int card, uint64_t bytes)
{
    return take(card, bytes, true);
}

enum quota_answer quota_try(int card, uint64_t bytes)
{
    return take(card, bytes, false);
}

void quota_give(int card, uint64_t bytes)
{
    if (card != NO_CARD && bytes > 0)
        account_give((unsigned)card, bytes);
}

uint64_t quota_used(int card)
{
    return card == NO_CARD ? 0 : account_used((unsigned)card);
}
