/* Parts of a GPU, as green contexts have them. */
#ifndef UNIGPU_ABI_CUDA_RESOURCES_H
#define UNIGPU_ABI_CUDA_RESOURCES_H

typedef enum CUdevResourceType {
    CU_DEV_RESOURCE_TYPE_INVALID = 0,
    CU_DEV_RESOURCE_TYPE_SM = 1,
    CU_DEV_RESOURCE_TYPE_WORKQUEUE_CONFIG = 1000,
    CU_DEV_RESOURCE_TYPE_WORKQUEUE = 10000,
} CUdevResourceType;

enum {
    CU_GREEN_CTX_DEFAULT_STREAM = 1,
    CU_DEV_SM_RESOURCE_GROUP_BACKFILL = 1,
    CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING = 1,
    CU_DEV_SM_RESOURCE_SPLIT_MAX_POTENTIAL_CLUSTER_SIZE = 2,
    CU_WORKQUEUE_SCOPE_GREEN_CTX_BALANCED = 1,
};

typedef struct CUdevResource {
    CUdevResourceType type;
    union { /* the driver's own: here it says where the resource came from */
        struct {
            unsigned int magic;
            int device;
            unsigned int split; /* the number of the split that made it; 0: a query */
            unsigned int final; /* can't be split again */
            unsigned int first; /* multiprocessor */
            unsigned int lanes; /* a bit for each eighth of the GPU that it lies in */
        } origin;
        unsigned char internal[92];
    };
    union {
        struct {
            unsigned int count; /* multiprocessors */
            unsigned int least; /* that a part may have */
            unsigned int alignment;
            unsigned int flags;
            unsigned int domain;
        } sm;
        struct {
            int device;
            unsigned int limit; /* work side by side */
            int scope;
        } queues;
        unsigned char all[40];
    } as;
    struct CUdevResource *next;
} CUdevResource;

typedef struct CU_DEV_SM_RESOURCE_GROUP_PARAMS {
    unsigned int count;
    unsigned int coscheduled;
    unsigned int preferred;
    unsigned int flags;
    unsigned int domain;
    unsigned int reserved[11];
} CU_DEV_SM_RESOURCE_GROUP_PARAMS;

#endif
