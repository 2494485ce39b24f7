#include "linear.h"

#include "pages.h"

bool linear_begin_on(struct claim *claim, CUcontext context, int card, uint64_t bytes)
{
    uint64_t whole = 0;
    if (!pages_have_room(context, bytes) && !pages_whole(bytes, &whole))
        return false;
    return claim_card(claim, context, card, whole);
}

bool linear_begin(struct claim *claim, uint64_t bytes)
{
    CUcontext context;
    int card;
    if (cards_of_current(&context, &card))
        return linear_begin_on(claim, context, card, bytes);
    *claim = (struct claim){.card = NO_CARD};
    return true;
}

CUresult linear_end(struct claim *claim, CUresult result, CUdeviceptr *pointer, uint64_t bytes)
{
    if (claim->card == NO_CARD)
        return result;
    if (result != CUDA_SUCCESS) {
        claim_drop(claim);
        return result;
    }
    uint64_t taken = pages_add(claim->context, *pointer, bytes);
    if (!claim_adjust(claim, taken)) {
        pages_remove(claim->context, *pointer, bytes);
        DRIVER(cuMemFree_v2)(*pointer);
        claim_drop(claim);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    /* Without a note the bytes stay taken until the process ends: too much is counted rather than too little. */
    ledger_add((struct ledger_entry){.key = *pointer, .bytes = bytes, .context = claim->context,
        .card = (int16_t)claim->card, .kind = LEDGER_LINEAR});
    return CUDA_SUCCESS;
}

bool linear_take_out(CUdeviceptr pointer, struct ledger_entry *entry)
{
    return ledger_remove(LEDGER_LINEAR, pointer, entry);
}

void linear_freed(bool noted, CUresult result, const struct ledger_entry *entry)
{
    if (noted && result == CUDA_SUCCESS)
        claim_return(entry);
    else if (noted)
        ledger_add(*entry);
}
