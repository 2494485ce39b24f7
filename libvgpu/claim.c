#include "claim.h"

#include "pages.h"
#include "reserves.h"

bool claim_card(struct claim *claim, CUcontext context, int card, uint64_t bytes) {
    *claim = (struct claim){.context = context, .bytes = bytes, .card = card};
    enum quota_answer answer = quota_try(card, bytes);
    if (answer == QUOTA_REFUSED) {
        /* What pools and graphs hold idle may have been given back meanwhile. */
        reserves_look(card);
        answer = quota_take(card, bytes);
    }
    claim->counted = answer == QUOTA_TAKEN;
    return answer != QUOTA_REFUSED;
}

bool claim_current(struct claim *claim, uint64_t bytes) {
    CUcontext context;
    int card;
    if (cards_of_current(&context, &card)) {
        return claim_card(claim, context, card, bytes);
    }
    *claim = (struct claim){.card = NO_CARD};
    return true;
}

bool claim_adjust(struct claim *claim, uint64_t bytes) {
    if (claim->counted && bytes < claim->bytes) {
        quota_give(claim->card, claim->bytes - bytes);
    }
    if (bytes > claim->bytes) {
        /* What was uncounted so far was so because nothing was needed, or because nothing can be counted. */
        enum quota_answer answer = quota_take(claim->card, bytes - claim->bytes);
        if (answer == QUOTA_REFUSED) {
            return false;
        }
        claim->counted |= answer == QUOTA_TAKEN;
    }
    claim->bytes = bytes;
    return true;
}

void claim_drop(struct claim *claim) {
    if (claim->counted) {
        quota_give(claim->card, claim->bytes);
    }
}

CUresult claim_end(struct claim *claim, CUresult result, enum ledger_kind kind, uint64_t key) {
    if (result != CUDA_SUCCESS) {
        claim_drop(claim);
    }
    if (result != CUDA_SUCCESS || !claim->counted) {
        return result;
    }
    /* Without a note the bytes stay taken until the process ends: too much is counted rather than too little. */
    ledger_add((struct ledger_entry){.key = key,
                                     .bytes = claim->bytes,
                                     .context = claim->context,
                                     .card = (int16_t)claim->card,
                                     .kind = (uint8_t)kind});
    return result;
}

void claim_return(const struct ledger_entry *entry) {
    uint64_t bytes = entry->bytes;
    if (entry->kind == LEDGER_LINEAR) {
        bytes = pages_remove(entry->key, entry->bytes);
    } else if (entry->kind == LEDGER_ARRAY) {
        bytes = pages_remove_hidden(entry->context, entry->bytes);
    }
    quota_give(entry->card, bytes);
}
