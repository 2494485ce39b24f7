/* cuGetProcAddress: which exported symbol a plain name means for a CUDA version, and the per-thread twins. */
#include "simulator/cuda/core/lookup.h"

#include <string.h>

#include "simulator/cuda/core/check.h"

__thread bool per_thread_default;

/* A row of the list whose symbol has no body here is left out of the table: undefined and weak, it is NULL. */
#define CUDA_API(tag, plain, since, symbol, parameters, arguments) \
    extern __typeof__(symbol) symbol __attribute__((weak));
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) \
    CUDA_API(tag, plain, since, symbol, parameters, arguments)
#include "abi/symbols.def"
#undef CUDA_API
#undef CUDA_API_PT

#define CUDA_API(tag, plain, since, symbol, parameters, arguments)
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) \
    CUresult symbol##suffix parameters {                                      \
        if (!symbol) {                                                        \
            return CUDA_ERROR_NOT_SUPPORTED;                                  \
        }                                                                     \
        bool before = per_thread_default;                                     \
        per_thread_default = true;                                            \
        CUresult result = symbol arguments;                                   \
        per_thread_default = before;                                          \
        return result;                                                        \
    }
#include "abi/symbols.def"
#undef CUDA_API
#undef CUDA_API_PT

#define CUDA_LATER(plain, since, symbol, parameters) extern CUresult symbol parameters __attribute__((weak));
#include "simulator/cuda/core/later.def"
#undef CUDA_LATER

typedef void (*entry)(void);

#define CUDA_ABSENT(symbol)
#define CUDA_ABSENT_SINCE(plain, since, symbol) extern void symbol(void);
#include "simulator/cuda/core/absent.def"

static const struct row {
    const char *plain;
    int since;
    entry symbol, per_thread;
} rows[] = {
#define CUDA_API(tag, plain, since, symbol, parameters, arguments) {#plain, since, (entry)symbol, NULL},
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) \
    {#plain, since, (entry)symbol, (entry)symbol##suffix},
#define CUDA_ALIAS(plain, since, symbol) {#plain, since, (entry)symbol, NULL},
#include "abi/symbols.def"
#undef CUDA_API
#undef CUDA_API_PT
#define CUDA_ABSENT(symbol)
#define CUDA_ABSENT_SINCE(plain, since, symbol) {#plain, since, (entry)symbol, NULL},
#include "simulator/cuda/core/absent.def"
#define CUDA_LATER(plain, since, symbol, parameters) {#plain, since, (entry)symbol, NULL},
#include "simulator/cuda/core/later.def"
#undef CUDA_LATER
};

enum { FIRST_PER_THREAD_VERSION = 7000, ROWS = sizeof rows / sizeof *rows, BUCKETS = 1024 };

/* Rows by hash of the plain name: first row of a bucket, and the next of each row. */
static int16_t bucket[BUCKETS], next_row[ROWS];

static unsigned hash(const char *name) {
    unsigned value = 2166136261U;
    while (*name) {
        value = (value ^ (unsigned char)*name++) * 16777619U;
    }
    return value % BUCKETS;
}

__attribute__((constructor)) static void index_rows(void) {
    memset(bucket, -1, sizeof bucket);
    for (int i = 0; i < ROWS; i++) {
        unsigned place = hash(rows[i].plain);
        next_row[i] = bucket[place];
        bucket[place] = (int16_t)i;
    }
}

CUresult cuGetProcAddress_v2(const char *symbol, void **function, int cuda_version, uint64_t flags,
                             CUdriverProcAddressQueryResult *symbol_status) {
    NEED(symbol && *symbol && function, CUDA_ERROR_INVALID_VALUE);
    NEED(flags <= (CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM),
         CUDA_ERROR_INVALID_VALUE);
    bool per_thread = flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    NEED(!(per_thread && (flags & CU_GET_PROC_ADDRESS_LEGACY_STREAM)), CUDA_ERROR_INVALID_VALUE);
    const struct row *best = NULL;
    bool known = false;
    int newest = 0;
    NEED_OK(cuDriverGetVersion(&newest));
    for (int i = bucket[hash(symbol)]; i >= 0; i = next_row[i]) {
        /* A driver doesn't know what came after it. */
        if (!rows[i].symbol || rows[i].since > newest || strcmp(rows[i].plain, symbol) != 0) {
            continue;
        }
        known = true;
        if (rows[i].since <= cuda_version && (!best || rows[i].since > best->since)) {
            best = &rows[i];
        }
    }
    CUdriverProcAddressQueryResult status = best    ? CU_GET_PROC_ADDRESS_SUCCESS
                                            : known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                                                    : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    entry found = NULL;
    if (best) {
        bool twin = per_thread && best->per_thread && cuda_version >= FIRST_PER_THREAD_VERSION;
        found = twin ? best->per_thread : best->symbol;
    }
    memcpy(function, &found, sizeof found);
    if (symbol_status) {
        *symbol_status = status;
        return CUDA_SUCCESS;
    }
    return found ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuGetProcAddress(const char *symbol, void **function, int cuda_version, uint64_t flags) {
    CUdriverProcAddressQueryResult status;
    NEED_OK(cuGetProcAddress_v2(symbol, function, cuda_version, flags, &status));
    return status == CU_GET_PROC_ADDRESS_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

/* Tables of unnamed functions, which NVIDIA's own libraries request: this driver has none of them. */
CUresult cuGetExportTable(const void **export_table, const CUuuid *export_table_id) {
    NEED(export_table && export_table_id, CUDA_ERROR_INVALID_VALUE);
    *export_table = NULL;
    return CUDA_ERROR_NOT_FOUND;
}
