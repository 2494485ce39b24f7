/* The course of one allocation: take from the share, let the driver work, then note it or give back. */
#ifndef UNIGPU_CLAIM_H
#define UNIGPU_CLAIM_H

#include "cards.h"
#include "ledger.h"

struct claim {
    CUcontext context;
    uint64_t bytes;
    int card;
    bool counted;
};

/* Takes bytes of a card; false: refused. */
bool claim_card(struct claim *claim, CUcontext context, int card, uint64_t bytes);

/* As claim_card, on the calling thread's context; without one nothing is taken, and the driver says what is wrong. */
bool claim_current(struct claim *claim, uint64_t bytes);

/* The driver turned out to need more or less; false, and nothing is changed, where more isn't to be had. */
bool claim_adjust(struct claim *claim, uint64_t bytes);

/* Gives all back: the driver gave nothing. */
void claim_drop(struct claim *claim);

/* Notes the memory under its key if the driver gave it, else gives back; answers the driver's result. */
CUresult claim_end(struct claim *claim, CUresult result, enum ledger_kind kind, uint64_t key);

/* Gives back what a note says. */
void claim_return(const struct ledger_entry *entry);

#endif
