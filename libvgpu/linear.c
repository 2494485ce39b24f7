#include "linear.h"

#include "pages.h"
#include "reserves.h"

bool linear_begin_on(struct claim *claim, CUcontext context, int card, uint64_t bytes) {
    uint64_t whole = 0;
    if (!pages_have_room(context, bytes) && !pages_whole(bytes, &whole)) {
        return false;
    }
    return claim_card(claim, context, card, whole);
}

bool linear_begin(struct claim *claim, uint64_t bytes) {
    CUcontext context;
    int card;
    if (cards_of_current(&context, &card)) {
        return linear_begin_on(claim, context, card, bytes);
    }
    *claim = (struct claim){.card = NO_CARD};
    return true;
}

CUresult linear_end(struct claim *claim, CUresult result, CUdeviceptr *pointer, uint64_t bytes) {
    if (claim->card == NO_CARD) {
        return result;
    }
    if (result != CUDA_SUCCESS) {
        claim_drop(claim);
        return result;
    }
    bool small = pages_is_small(*pointer, bytes);
    uint64_t taken = small ? pages_add_small(claim->context, claim->card, *pointer, bytes)
                           : pages_add(claim->context, claim->card, *pointer, bytes);
    if (!claim_adjust(claim, taken)) {
        int card;
        if (small) {
            pages_remove_small(*pointer, &card);
        } else {
            pages_remove(*pointer, bytes);
        }
        DRIVER(cuMemFree_v2)(*pointer);
        claim_drop(claim);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    /* Without a note the bytes stay taken until the process ends: too much is counted rather than too little. */
    if (!small) {
        ledger_add((struct ledger_entry){.key = *pointer,
                                         .bytes = bytes,
                                         .context = claim->context,
                                         .card = (int16_t)claim->card,
                                         .kind = LEDGER_LINEAR});
    }
    return CUDA_SUCCESS;
}

bool linear_take_out(CUdeviceptr pointer, struct ledger_entry *entry) {
    return ledger_remove(LEDGER_LINEAR, pointer, entry) || ledger_remove(LEDGER_POOLED, pointer, entry);
}

void linear_freed(bool noted, CUresult result, CUdeviceptr pointer, const struct ledger_entry *entry) {
    int card = NO_CARD;
    if (noted && result == CUDA_SUCCESS) {
        claim_return(entry);
        if (entry->kind == LEDGER_POOLED) {
            reserve_freed(entry->context);
        }
    } else if (noted) {
        ledger_add(*entry);
    } else if (result == CUDA_SUCCESS) {
        uint64_t bytes = pages_remove_small(pointer, &card);
        quota_give(card, bytes);
    }
}
