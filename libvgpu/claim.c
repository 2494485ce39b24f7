#include "claim.h"

bool claim_card(struct claim *claim, CUcontext context, int card, uint64_t bytes)
{
    *claim = (struct claim){.context = context, .bytes = bytes, .card = card};
    enum quota_answer answer = quota_take(card, bytes);
    claim->counted = answer == QUOTA_TAKEN;
    return answer != QUOTA_REFUSED;
}

bool claim_current(struct claim *claim, uint64_t bytes)
{
    CUcontext context;
    int card;
    if (cards_of_current(&context, &card))
        return claim_card(claim, context, card, bytes);
    *claim = (struct claim){.card = NO_CARD};
    return true;
}

bool claim_adjust(struct claim *claim, uint64_t bytes)
{
    if (!claim->counted || bytes == claim->bytes)
        return true;
    if (bytes > claim->bytes && quota_take(claim->card, bytes - claim->bytes) != QUOTA_TAKEN)
        return false;
    if (bytes < claim->bytes)
        quota_give(claim->card, claim->bytes - bytes);
    claim->bytes = bytes;
    return true;
}

CUresult claim_end(struct claim *claim, CUresult result, enum ledger_kind kind, uint64_t key)
{
    if (!claim->counted)
        return result;
    if (result != CUDA_SUCCESS) {
        quota_give(claim->card, claim->bytes);
        return result;
    }
    /* Without a note the bytes stay taken until the process ends: too much is counted rather than too little. */
    ledger_add((struct ledger_entry){.key = key, .bytes = claim->bytes, .context = claim->context,
        .card = (int16_t)claim->card, .kind = (uint8_t)kind});
    return result;
}

void claim_return(const struct ledger_entry *entry)
{
    quota_give(entry->card, entry->bytes);
}
