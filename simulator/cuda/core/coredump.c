/* Settings of core dumps. They are kept and read back; no dump is written, as no kernel here can fail. */
#include <string.h>

#include "simulator/cuda/core/context.h"
#include "simulator/cuda/core/later.h"

enum { ENABLE = 1, TRIGGER_HOST, LIGHTWEIGHT, USER_TRIGGER, FILE_NAME, PIPE, FLAGS, SETTINGS };

typedef struct setting {
    bool set;
    char value[1024];
    size_t size;
} setting;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static setting everywhere[SETTINGS];

static size_t size_of(int attribute) {
    return attribute >= FILE_NAME && attribute != FLAGS ? sizeof everywhere->value
           : attribute == FLAGS                         ? sizeof(unsigned)
                                                        : sizeof(bool);
}

static CUresult read_value(int attribute, void *value, size_t *size) {
    NEED(attribute >= ENABLE && attribute < SETTINGS && value && size, CUDA_ERROR_INVALID_VALUE);
    bool text = size_of(attribute) == sizeof everywhere->value;
    pthread_mutex_lock(&lock);
    const setting *found = &everywhere[attribute];
    size_t has = found->set ? found->size : text ? 1 : size_of(attribute);
    bool room = *size >= has;
    if (room) {
        memcpy(value, found->value, has);
        *size = has;
    }
    pthread_mutex_unlock(&lock);
    return room ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult write_value(int attribute, const void *value, const size_t *size) {
    NEED(attribute >= ENABLE && attribute < SETTINGS && value && size, CUDA_ERROR_INVALID_VALUE);
    bool text = size_of(attribute) == sizeof everywhere->value;
    NEED(text ? *size < size_of(attribute) : *size >= size_of(attribute), CUDA_ERROR_INVALID_VALUE);
    setting made = {.set = true, .size = text ? *size + 1 : size_of(attribute)};
    memcpy(made.value, value, text ? *size : made.size);
    if (text) {
        made.size = strlen(made.value) + 1;
    }
    pthread_mutex_lock(&lock);
    everywhere[attribute] = made;
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

CUresult cuCoredumpGetAttributeGlobal(int attribute, void *value, size_t *size) {
    NEED_DRIVER();
    return read_value(attribute, value, size);
}

CUresult cuCoredumpSetAttributeGlobal(int attribute, void *value, size_t *size) {
    NEED_DRIVER();
    return write_value(attribute, value, size);
}

/* A context has no settings of its own here: it reads and changes those of the process. */
CUresult cuCoredumpGetAttribute(int attribute, void *value, size_t *size) {
    NEED_CONTEXT_NAMED(current);
    (void)current;
    return read_value(attribute, value, size);
}

CUresult cuCoredumpSetAttribute(int attribute, void *value, size_t *size) {
    NEED_CONTEXT_NAMED(current);
    (void)current;
    return write_value(attribute, value, size);
}
