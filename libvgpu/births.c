#include "births.h"

#include <time.h>

#include "account.h"

/* Set aside while the container's first context on a card is made and its cost is not known: more than any needs. */
#define UNKNOWN_COST (UINT64_C(1) << 30)

/* While several processes make the container's first contexts, the first to be done tells the others what one costs. */
#define WAIT_TURNS 3000
#define WAIT_NS 1000000

/* Sets aside what there is, up to a context's most. Where others have set all aside for theirs, waits for one of them;
 * false: the cost has become known meanwhile, or it took too long. */
static bool set_unknown_aside(struct claim *claim, int card) {
    for (int turn = 0; turn < WAIT_TURNS && account_context_cost((unsigned)card) == 0; turn++) {
        uint64_t limit = quota_limit(card);
        uint64_t taken = limit == QUOTA_UNLIMITED ? 0 : quota_used(card);
        uint64_t room = limit > taken ? limit - taken : 0;
        *claim = (struct claim){.card = card, .bytes = room < UNKNOWN_COST ? room : UNKNOWN_COST};
        enum quota_answer answer = room > 0 ? quota_try(card, claim->bytes) : QUOTA_REFUSED;
        claim->counted = answer == QUOTA_TAKEN;
        if (answer != QUOTA_REFUSED) {
            return true;
        }
        if (taken == 0) {
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = WAIT_NS}, NULL);
    }
    return false;
}

bool birth_begin(struct birth *birth, CUdevice device) {
    int card = cards_of_device(device);
    birth->measured = card != NO_CARD && set_unknown_aside(&birth->claim, card);
    if (!birth->measured) {
        uint64_t cost = card == NO_CARD ? 0 : account_context_cost((unsigned)card);
        if (!claim_card(&birth->claim, NULL, card, cost != 0 ? cost : UNKNOWN_COST)) {
            return false;
        }
    }
    birth->measured &= birth->claim.counted;
    if (birth->measured) {
        measure_begin(&birth->measure, card);
    }
    return true;
}

bool birth_measure(struct birth *birth) {
    if (!birth->measured) {
        return true;
    }
    uint64_t cost = measure_end(&birth->measure, birth->claim.bytes);
    if (!claim_adjust(&birth->claim, cost)) {
        return false;
    }
    account_note_context_cost((unsigned)birth->claim.card, cost);
    return true;
}
