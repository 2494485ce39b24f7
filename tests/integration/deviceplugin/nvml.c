/* An NVML that fails on demand: files in the folder UNIGPU_SIM_DIR say how.
 *   count     number of GPUs
 *   hang      asking for the number of GPUs never returns
 *   crash     ... ends the process
 *   lost<i>   GPU i can't be reached
 *   xid       "<i> <XID>": GPU i reports it once
 *   recovery<i>   number of the recovery action that GPU i asks for; without the file the driver knows of none
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef LOOK_MS
#define LOOK_MS 10 /* between two looks for an XID; a real driver doesn't look, and wakes who waits */
#endif

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, TIMEOUT = 10, IS_LOST = 15 };

static int gpus[16];

static const char *file(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("UNIGPU_SIM_DIR"), name);
    return path;
}

static int number(const void *gpu) {
    return (int)((const int *)gpu - gpus);
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

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **gpu) {
    char name[32];
    snprintf(name, sizeof name, "lost%u", index);
    *gpu = &gpus[index];
    return access(file(name), F_OK) == 0 ? IS_LOST : SUCCESS;
}

int nvmlDeviceGetUUID(void *gpu, char *uuid, unsigned length) {
    snprintf(uuid, length, "GPU-00000000-0000-0000-0000-%012d", number(gpu));
    return SUCCESS;
}

int nvmlDeviceGetMinorNumber(void *gpu, unsigned *minor) {
    *minor = (unsigned)number(gpu);
    return SUCCESS;
}

int nvmlDeviceGetName(void *gpu, char *name, unsigned length) {
    (void)gpu;
    snprintf(name, length, "Test 24G");
    return SUCCESS;
}

/* 24,576 MiB can be given away; the total includes what the driver keeps. */
static const unsigned long long given = 24576ULL << 20, kept = 300ULL << 20;

int nvmlDeviceGetMemoryInfo(void *gpu, unsigned long long *memory) {
    (void)gpu;
    memory[0] = given + kept;
    memory[1] = given;
    memory[2] = kept;
    return SUCCESS;
}

struct memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

int nvmlDeviceGetMemoryInfo_v2(void *gpu, struct memory_v2 *memory) {
    (void)gpu;
    *memory = (struct memory_v2){memory->version, given + kept, kept, given, 0};
    return SUCCESS;
}

int nvmlDeviceGetTopologyCommonAncestor(void *one, void *other, unsigned *level) {
    *level = number(one) / 2 == number(other) / 2 ? 10 : 50;
    return SUCCESS;
}

struct field_value {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type, result;
    union {
        unsigned number;
        unsigned long long size;
    } value;
};

int nvmlDeviceGetFieldValues(void *gpu, int count, struct field_value *values) {
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "recovery%d", number(gpu));
        FILE *stream = fopen(file(name), "r");
        values[i].result =
            stream != NULL && fscanf(stream, "%u", &values[i].value.number) == 1 ? SUCCESS : NOT_SUPPORTED;
        if (stream != NULL) {
            fclose(stream);
        }
    }
    return SUCCESS;
}

int nvmlEventSetCreate(void **set) {
    *set = gpus;
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(void *gpu, unsigned long long types, void *set) {
    (void)gpu, (void)types, (void)set;
    return SUCCESS;
}

struct event {
    void *gpu;
    unsigned long long type, data;
    unsigned instance, part;
};

int nvmlEventSetWait_v2(void *set, struct event *event, unsigned milliseconds) {
    (void)set;
    for (unsigned waited = 0;; waited += LOOK_MS) {
        int index;
        FILE *stream = fopen(file("xid"), "r");
        if (stream != NULL) {
            int read = fscanf(stream, "%d %llu", &index, &event->data);
            fclose(stream);
            if (read == 2) {
                unlink(file("xid"));
                event->gpu = &gpus[index];
                event->type = 8;
                return SUCCESS;
            }
        }
        if (waited >= milliseconds) {
            return TIMEOUT;
        }
        usleep(LOOK_MS * 1000);
    }
}
