/* An NVML that fails on demand: files in the folder UNIGPU_SIM_DIR say how.
 *   count     number of cards
 *   hang      asking for the number of cards never returns
 *   crash     ... ends the process
 *   lost<i>   card i can't be reached
 *   xid       "<i> <XID>": card i reports it once
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_FOUND = 6, TIMEOUT = 10, IS_LOST = 15 };

static int cards[16];

static const char *file(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("UNIGPU_SIM_DIR"), name);
    return path;
}

static int number(const void *card) {
    return (int)((const int *)card - cards);
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return SUCCESS;
}

const char *nvmlErrorString(int error) {
    return error == IS_LOST ? "GPU is lost" : "error";
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    if (access(file("crash"), F_OK) == 0) {
        abort();
    }
    while (access(file("hang"), F_OK) == 0) {
        pause();
    }
    FILE *stream = fopen(file("count"), "r");
    if (stream == NULL || fscanf(stream, "%u", count) != 1) {
        return NOT_FOUND;
    }
    fclose(stream);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **card) {
    char name[32];
    snprintf(name, sizeof name, "lost%u", index);
    *card = &cards[index];
    return access(file(name), F_OK) == 0 ? IS_LOST : SUCCESS;
}

int nvmlDeviceGetUUID(void *card, char *uuid, unsigned length) {
    snprintf(uuid, length, "GPU-00000000-0000-0000-0000-%012d", number(card));
    return SUCCESS;
}

int nvmlDeviceGetMinorNumber(void *card, unsigned *minor) {
    *minor = (unsigned)number(card);
    return SUCCESS;
}

int nvmlDeviceGetName(void *card, char *name, unsigned length) {
    (void)card;
    snprintf(name, length, "Test 24G");
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *card, unsigned long long *memory) {
    (void)card;
    memory[0] = memory[1] = 24576ULL << 20;
    memory[2] = 0;
    return SUCCESS;
}

int nvmlDeviceGetTopologyCommonAncestor(void *one, void *other, unsigned *level) {
    *level = number(one) / 2 == number(other) / 2 ? 10 : 50;
    return SUCCESS;
}

int nvmlEventSetCreate(void **set) {
    *set = cards;
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(void *card, unsigned long long types, void *set) {
    (void)card, (void)types, (void)set;
    return SUCCESS;
}

struct event {
    void *card;
    unsigned long long type, data;
    unsigned instance, part;
};

int nvmlEventSetWait_v2(void *set, struct event *event, unsigned milliseconds) {
    (void)set;
    for (unsigned waited = 0;; waited += 10) {
        int index;
        FILE *stream = fopen(file("xid"), "r");
        if (stream != NULL) {
            int read = fscanf(stream, "%d %llu", &index, &event->data);
            fclose(stream);
            if (read == 2) {
                unlink(file("xid"));
                event->card = &cards[index];
                event->type = 8;
                return SUCCESS;
            }
        }
        if (waited >= milliseconds) {
            return TIMEOUT;
        }
        usleep(10000);
    }
}
