/* The files and limits that apply to this process: those of a container that the node agent manages, those that the
 * environment names, or none. */
#ifndef UNIGPU_BASE_CONFIG_H
#define UNIGPU_BASE_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "libvgpu/base/layout.h"

enum config_kind {
    CONFIG_NONE,        /* no limits: every call passes untouched */
    CONFIG_ENVIRONMENT, /* no policy file, only the environment's limits */
    CONFIG_POLICY,      /* a policy file, which may turn out to be missing */
};

/* Which variable of the environment sets a GPU's limit. */
enum limit_source {
    LIMIT_UNSET,
    LIMIT_OF_ALL, /* the one for every GPU */
    LIMIT_OF_ONE, /* the GPU's own */
};

struct config {
    enum config_kind kind;
    const char *policy;             /* path; NULL: no policy file */
    const char *usage;              /* path; NULL: an account that this process shares with its forks alone */
    _Bool made_by_agent;            /* the node agent made both files */
    uint64_t limits[VGPU_MAX_GPUS]; /* bytes, from the environment; 0: none */
    uint32_t cores[VGPU_MAX_GPUS];  /* percent, likewise */
    uint8_t limits_from[VGPU_MAX_GPUS], cores_from[VGPU_MAX_GPUS]; /* enum limit_source */
    _Bool unreadable[VGPU_MAX_GPUS]; /* a limit in the environment can't be read: the GPU's memory is refused */
};

extern const struct config *config_decided;
const struct config *config_decide(void);

/* Returns the configuration. It is read at the first driver call and never changes in the life of the process. */
static inline const struct config *config(void) {
    const struct config *known = __atomic_load_n(&config_decided, __ATOMIC_ACQUIRE);
    return __builtin_expect(known != NULL, 1) ? known : config_decide();
}

/* Whether, by the environment as it is now, limits apply that no file belongs to. Remembers nothing. */
_Bool config_is_alone(void);

/* Parses `300m`, `1.5g`, `2GiB`, `2Gi` or bytes; false for anything else. Every unit is a power of 1024. */
_Bool config_parse_size(const char *text, uint64_t *bytes);

/* Parses a whole number of percent, 0 to 100; false for anything else. */
_Bool config_parse_percent(const char *text, uint32_t *percent);

/* Whether `injected`, a list of `NAME=value` joined by `;`, has this variable with this value. */
_Bool config_is_injected(const char *injected, const char *name, const char *value);

#endif
