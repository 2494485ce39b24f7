#include "births.h"

#include "account.h"

/* Set aside while the container's first context on a card is made and its cost is not known: more than any needs. */
#define UNKNOWN_COST (UINT64_C(1) << 30)

bool birth_begin(struct birth *birth, CUdevice device)
{
    int card = cards_of_device(device);
    birth->measured = false;
    uint64_t cost = card == NO_CARD ? UNKNOWN_COST : account_context_cost((unsigned)card);
    if (cost == 0) {
        uint64_t limit = quota_limit(card);
        uint64_t taken = limit == QUOTA_UNLIMITED ? 0 : quota_used(card);
        cost = limit - taken < UNKNOWN_COST && limit > taken ? limit - taken : UNKNOWN_COST;
        birth->measured = true;
    }
    if (!claim_card(&birth->claim, NULL, card, cost))
        return false;
    birth->measured &= birth->claim.counted;
    if (birth->measured)
        measure_begin(&birth->measure, card);
    return true;
}

bool birth_measure(struct birth *birth)
{
    if (!birth->measured)
        return true;
    uint64_t cost = measure_end(&birth->measure, birth->claim.bytes);
    if (!claim_adjust(&birth->claim, cost))
        return false;
    account_note_context_cost((unsigned)birth->claim.card, cost);
    return true;
}
