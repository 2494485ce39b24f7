#include "ground.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "linker.h"
#include "lock.h"
#include "message.h"
#include "names.h"

_Bool ground_parse_size(const char *text, uint64_t *bytes)
{
    uint64_t number = 0;
    const char *at = text;
    while (*at == ' ')
        at++;
    if (*at < '0' || *at > '9')
        return false;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, *at - '0', &number))
            return false;
    }
    static const char units[] = "kmgt";
    unsigned shift = 0;
    const char *unit = *at == '\0' ? NULL : strchr(units, *at | 0x20);
    if (unit != NULL) {
        shift = 10 * (unsigned)(unit - units + 1);
        at++;
    }
    if (strcasecmp(at, "") != 0 && strcasecmp(at, "b") != 0 && !(shift > 0 && strcasecmp(at, "ib") == 0))
        return false;
    if (shift > 0 && number >> (64 - shift) != 0)
        return false;
    *bytes = number << shift;
    return true;
}

/* One variable's limit into one place, or into all of them. */
static bool read_limit(const char *name, uint64_t *limits, unsigned count)
{
    const char *text = secure_getenv(name);
    uint64_t bytes;
    if (text == NULL || *text == '\0')
        return false;
    if (!ground_parse_size(text, &bytes)) {
        message(MESSAGE_ERROR, "%s=%s is not a size such as 300m, 1g or 314572800: it limits nothing", name, text);
        return false;
    }
    for (unsigned card = 0; card < count; card++)
        limits[card] = bytes;
    return bytes > 0;
}

static bool read_limits(uint64_t *limits)
{
    bool any = read_limit(UNIGPU_ENV_MEMORY_LIMIT, limits, VGPU_MAX_GPUS);
    for (unsigned card = 0; card < VGPU_MAX_GPUS; card++) {
        char name[64];
        snprintf(name, sizeof name, UNIGPU_ENV_MEMORY_LIMIT "_%u", card);
        any |= read_limit(name, &limits[card], 1);
    }
    return any;
}

static bool managed(void)
{
    return access(UNIGPU_CONTAINER_POLICY, F_OK) == 0 || getenv(UNIGPU_ENV_MANAGED) != NULL
        || linker_loaded_from(UNIGPU_CONTAINER_ROOT "/");
}

/* The environment's own strings may be overwritten by the program later. */
static const char *kept(const char *name)
{
    const char *text = secure_getenv(name);
    return text == NULL || *text == '\0' ? NULL : strdup(text);
}

static void decide(struct ground *here)
{
    bool limited = read_limits(here->limits);
    if (managed()) {
        here->kind = GROUND_POLICY;
        here->policy = UNIGPU_CONTAINER_POLICY;
        here->usage = UNIGPU_CONTAINER_USAGE;
        here->made_by_agent = true;
        return;
    }
    here->policy = kept(UNIGPU_ENV_TRIAL_POLICY);
    here->usage = kept(UNIGPU_ENV_TRIAL_USAGE);
    if (here->usage == NULL)
        here->usage = kept(UNIGPU_ENV_SHARED_CACHE);
    if (here->policy != NULL)
        here->kind = GROUND_POLICY;
    else
        here->kind = limited || here->usage != NULL ? GROUND_ALONE : GROUND_FREE;
}

const struct ground *ground(void)
{
    static struct ground here;
    static struct lock lock;
    static bool decided;
    if (__atomic_load_n(&decided, __ATOMIC_ACQUIRE))
        return &here;
    lock_take(&lock);
    if (!decided) {
        decide(&here);
        __atomic_store_n(&decided, true, __ATOMIC_RELEASE);
    }
    lock_give(&lock);
    return &here;
}
