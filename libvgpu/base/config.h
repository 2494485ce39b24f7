/* Where this process stands: in a container that the node agent serves, in a trial with its own files, or nowhere. */
#ifndef UNIGPU_BASE_CONFIG_H
#define UNIGPU_BASE_CONFIG_H

#include <stdint.h>

#include "libvgpu/base/layout.h"

enum config_kind {
    CONFIG_NONE,    /* nothing says anything about limits: every call passes untouched */
    CONFIG_ENVIRONMENT,   /* no policy, only the environment's limits */
    CONFIG_POLICY,  /* there is a policy, or there has to be one */
};

struct config {
    enum config_kind kind;
    const char *policy; /* path; NULL without a policy */
    const char *usage;  /* path; NULL: an account that only this process and its forks share */
    _Bool made_by_agent; /* both files are the node agent's */
    uint64_t limits[VGPU_MAX_GPUS]; /* bytes, from the environment; 0: none */
    uint32_t cores[VGPU_MAX_GPUS]; /* percent, likewise */
};

/* Decided once, at the first driver call, and the same for the rest of the process's life. */
const struct config *config(void);

/* `300m`, `1g`, `2GiB`, or bytes; false for anything else. */
_Bool config_parse_size(const char *text, uint64_t *bytes);

/* A whole number of percent, 0 to 100; false for anything else. */
_Bool config_parse_percent(const char *text, uint32_t *percent);

/* Whether `given`, which is `NAME=value` joined by `;`, has this variable with this value. */
_Bool config_is_injected(const char *given, const char *name, const char *value);

#endif
