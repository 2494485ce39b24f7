/* Memory and semaphores of other APIs. */
#ifndef UNIGPU_ABI_CUDA_EXTERNAL_H
#define UNIGPU_ABI_CUDA_EXTERNAL_H

enum { /* for memory and for semaphores; those left out aren't of Linux */
       CU_EXTERNAL_HANDLE_TYPE_OPAQUE_FD = 1,
       CU_EXTERNAL_MEMORY_HANDLE_TYPE_DMABUF_FD = 9,
       CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_TIMELINE_FD = 9,
};

typedef struct CUDA_EXTERNAL_MEMORY_HANDLE_DESC {
    unsigned int type;
    union {
        int fd;
        struct {
            void *handle;
            const void *name;
        } win32;
        const void *nvscibuf;
    } handle;
    unsigned long long size;
    unsigned int flags;
    unsigned int reserved[16];
} CUDA_EXTERNAL_MEMORY_HANDLE_DESC;

typedef struct CUDA_EXTERNAL_MEMORY_BUFFER_DESC {
    unsigned long long offset;
    unsigned long long size;
    unsigned int flags;
    unsigned int reserved[16];
} CUDA_EXTERNAL_MEMORY_BUFFER_DESC;

typedef struct CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC {
    unsigned int type;
    union {
        int fd;
        struct {
            void *handle;
            const void *name;
        } win32;
        const void *nvscisync;
    } handle;
    unsigned int flags;
    unsigned int reserved[16];
} CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC;

typedef struct CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS {
    unsigned long long value;
    unsigned long long others[8];
    unsigned int flags;
    unsigned int reserved[16];
} CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS;

typedef struct CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS {
    unsigned long long value;
    unsigned long long others[8];
    unsigned int flags;
    unsigned int reserved[16];
} CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS;

#endif
