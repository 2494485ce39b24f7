/* One piece of work as a stream runs it, a capture records it and a graph keeps it. */
#ifndef UNIGPU_SIM_OP_H
#define UNIGPU_SIM_OP_H

#include "simulator/cuda/driver.h"

/* A point in a stream's work: what an event was last recorded at. Waiters keep it after the event moves on. */
typedef struct moment {
    int holders;
    bool done;
    uint64_t at_ns; /* once done: when all work before it is complete */
} moment;

moment *moment_new(void);
moment *moment_hold(moment *held);
void moment_drop(moment *held);
void moment_done(moment *reached, uint64_t at_ns);
bool moment_is_done(moment *asked);
/* Waits until the moment is settled, and answers its time, which may still lie ahead. */
uint64_t moment_wait(moment *awaited);

typedef enum op_kind {
    OP_EMPTY,
    OP_COPY,     /* linear, unified addresses */
    OP_COPY_BOX, /* up to three dimensions, arrays included */
    OP_FILL,
    OP_KERNEL,
    OP_HOST,
    OP_CALLBACK,
    OP_RECORD,
    OP_WAIT,
    OP_ALLOC, /* of a graph */
    OP_FREE,
    OP_WRITE_VALUE,
    OP_WAIT_VALUE,
    OP_GRAPH,
} op_kind;

typedef struct op {
    op_kind kind;
    union {
        struct {
            CUdeviceptr destination, source;
            size_t bytes;
        } copy;
        CUDA_MEMCPY3D_PEER box;
        struct {
            CUdeviceptr pointer;
            size_t pitch;
            unsigned value, unit;
            size_t width, height;
        } fill;
        struct {
            CUfunction function;
            unsigned grid[3], block[3];
            unsigned shared;
            bool cooperative;
            unsigned lanes;
            uint64_t duration_ns;
            waiter *turn; /* of what is left of a kernel: its place in the line */
            void *parameters; /* values one after another at their offsets; a graph's node owns them */
        } kernel;
        struct {
            CUhostFn callback;
            void *data;
        } host;
        struct {
            CUstreamCallback callback;
            void *data;
            CUstream stream;
        } callback;
        struct {
            CUevent event;
            moment *moment;
        } event;
        struct {
            CUDA_MEM_ALLOC_NODE_PARAMS wanted;
        } alloc;
        CUdeviceptr free;
        struct {
            CUdeviceptr address;
            uint64_t value;
            unsigned flags;
            bool wide;
        } value;
        struct {
            CUgraphExec exec;
            CUgraph graph; /* as it was when it was launched */
        } launch;
        CUgraph child;
    } as;
} op;

/* copy.c: checks bounds and handles; does the copy or fill. */
CUresult op_check_copy(const op *checked);
void op_do_copy(const op *done);
void copy_box(const CUDA_MEMCPY3D_PEER *box);

/* ---- Streams. */

typedef struct pending {
    op op;
    uint64_t submitted_ns;
    struct pending *next;
} pending;

enum { LAUNCH_DEPTH = 1024 };

struct CUstream_st {
    object object;
    CUcontext context;
    uint64_t id;
    unsigned flags;
    int priority;
    int sync_policy;
    bool usual; /* the legacy default stream, or a thread's own */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t ready_ns; /* when everything that has begun here is complete */
    /* Work that can't be settled yet: kernels far ahead, host functions, what comes after them. A thread runs it. */
    pending *first, *last;
    unsigned pending_count;
    pthread_cond_t arrived; /* for the thread */
    bool has_thread, closing;
    uint64_t *launch_ends; /* of the last LAUNCH_DEPTH kernels and graphs */
    uint64_t launches; /* kernels and graphs whose end is settled */
    uint64_t submitted; /* and those given to the stream */
    uint64_t seen_ns; /* a time that has passed */
    struct capture *capture;
    CUstream next;
};

struct CUevent_st {
    object object;
    CUcontext context;
    unsigned flags;
    moment *moment; /* NULL: never recorded */
    struct capture *capture; /* recorded in a capture: its nodes at that point */
    CUgraphNode *captured;
    size_t captured_count;
};

/* Set while an entry point's per-thread twin runs: stream 0 then means the thread's own default stream. */
extern __thread bool per_thread_default;

CUstream stream_new(CUcontext context, unsigned flags, int priority, bool usual);
void stream_end(CUstream stream);
/* Ends all streams of a context, and waits until they are gone. */
void streams_end(CUcontext context);
/* The stream that a handle means in this context, or NULL. */
CUstream stream_find(CUcontext context, CUstream handle);
/* Runs, queues or captures the work. */
CUresult stream_submit(CUstream stream, const op *work);
/* run.c */
/* Runs work whose turn has come, at the stream's time but not before it was submitted. Host functions are called here
 * and now; kernels are waited for until they are booked. */
void stream_run(CUstream stream, const op *work, uint64_t submitted_ns);
/* Books as much of a kernel as goes at once, as submitted now; leaves what is left in `rest`, or answers true. */
bool kernel_begin(CUstream stream, const op *work, op *rest);
/* Books all of a kernel that may start then, waiting for the card; answers its end. */
uint64_t kernel_run(device *card, const op *work, uint64_t ready_ns);

/* turns.c */
/* A place in the line for a job that was ready then, which is booked from now on; NULL: out of memory. */
waiter *turn_join(device *card, sim_job job, uint64_t since_ns);
/* Gives the place up when all of the job is booked, waiting as long as it takes; answers its end. */
uint64_t turn_await(device *card, waiter *own);
/* Gives the place up at once. */
void turn_leave(device *card, waiter *own);
/* Books all of a job, at once or by a place in the line. */
uint64_t turn_take(device *card, sim_job job, uint64_t since_ns);
/* Whether jobs of this process wait. */
bool turn_is_contended(const device *card);
/* Where none waits now, none will for a while. */
void turn_rest(void);

/* When work may start that is submitted now. */
uint64_t stream_start(CUstream stream);
bool stream_idle(CUstream stream);
void stream_wait(CUstream stream);
void context_wait(CUcontext context);
void sleep_until(uint64_t at_ns);
/* The same, but no longer than the context has its card. */
void context_sleep(CUcontext context, uint64_t at_ns);

/* What entry points with a stream begin with; the stream is resolved. */
#define NEED_STREAM(name, handle)        \
    CUstream name;                       \
    NEED_CONTEXT(current);               \
    name = stream_find(current, handle); \
    NEED(name, CUDA_ERROR_INVALID_HANDLE)

/* ---- Captures and graphs. */

CUresult capture_add(CUstream stream, const op *work);
/* Whether synchronising or the legacy stream would disturb a capture of this thread; the error if so. */
CUresult capture_forbids_sync(CUcontext context);
/* The same for calls that no capture can hold, such as allocations. */
CUresult capture_forbids_unsafe(void);
void capture_leave(CUstream stream);
CUresult capture_record(CUstream stream, CUevent event);
CUresult capture_wait(CUstream stream, CUevent event);

/* graph_exec.c: a launch's work, run at the stream's time; answers its end. */
uint64_t exec_run(CUgraphExec exec, CUgraph graph, CUstream stream, uint64_t ready_ns);
/* Whether it can't be run at once: it calls the host, is at work elsewhere, or has more than the card takes now. */
bool exec_must_wait(CUgraphExec exec, CUgraph graph, const device *card);
/* A launch is over. */
void exec_drop(CUgraphExec exec, CUgraph graph);

#endif
