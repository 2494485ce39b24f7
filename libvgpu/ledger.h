/* What this process has from the driver: by handle or address, so that what is freed is given back exactly. */
#ifndef UNIGPU_LEDGER_H
#define UNIGPU_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

/* Handles of different kinds may have one value. */
enum ledger_kind {
    LEDGER_LINEAR = 1, /* bytes as asked for: pages.h knows what they take */
    LEDGER_POOLED, /* from a pool, which is counted as a whole; its context is the reserve */
    LEDGER_CONTEXT,
    LEDGER_ARRAY,   /* bytes of its elements, as above */
    LEDGER_MODULE,
    LEDGER_HANDLE,  /* of physical memory; its context is what physical.c knows of it */
    LEDGER_MAPPING, /* of physical memory, by address; likewise */
    LEDGER_EXECUTABLE, /* a graph: bytes that its nodes allocate when it runs */
    LEDGER_EXTERNAL,
    LEDGER_LIMIT,    /* of a context: what the card gives beyond its first size */
    LEDGER_FIRST_SIZE, /* that size, by the same key; nothing is counted for it */
};

struct ledger_entry {
    uint64_t key;
    uint64_t bytes;
    void *context; /* the context with whose end the memory goes; NULL: with no context */
    int16_t card;
    uint8_t kind; /* 0: an empty place */
};

/* Notes it; false where there is no memory for the note. */
bool ledger_add(struct ledger_entry entry);

/* Takes the note out; false where there was none. */
bool ledger_remove(enum ledger_kind kind, uint64_t key, struct ledger_entry *entry);

/* Looks a note up; false where there is none. */
bool ledger_find(enum ledger_kind kind, uint64_t key, struct ledger_entry *entry);

/* Takes all notes of a context out, and calls `each` for them. */
void ledger_sweep(void *context, void (*each)(const struct ledger_entry *entry));

#endif
