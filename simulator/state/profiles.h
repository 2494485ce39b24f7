/* The GPUs that can be simulated, with the figures of their data sheets. */
#ifndef UNIGPU_SIM_PROFILES_H
#define UNIGPU_SIM_PROFILES_H

#include <stdbool.h>
#include <stdint.h>

/* A kind of MIG GPU instances. */
typedef struct sim_mig_kind {
    uint32_t number;    /* NVML's, of the same kind on every model */
    uint32_t id;        /* the driver's, on this model */
    const char *suffix; /* of its name */
    uint32_t slices;    /* of multiprocessors; 0: the end of the list */
    uint32_t memory;    /* slices of memory */
    uint32_t most;      /* that a GPU can have */
    uint32_t multiprocessors;
    uint32_t copy, decode, encode, jpeg, flow; /* engines */
} sim_mig_kind;

extern const sim_mig_kind sim_mig_a100[], sim_mig_h100[], sim_mig_rtxpro6000[];

typedef struct sim_profile {
    const char *key;  /* as in `unigpu-sim create --profile` */
    const char *name; /* as the driver reports it */
    uint32_t memory_mib;
    uint32_t reserved_mib; /* kept by the driver, and shown as used or reserved */
    uint32_t context_mib;  /* memory that an empty context takes */
    int major, minor;      /* compute capability */
    int multiprocessors;
    int cores_per_multiprocessor;
    int threads_per_multiprocessor;
    int shared_kib_per_multiprocessor;
    int shared_kib_optin; /* per block, opted in */
    int l2_mib;
    int bus_bits;
    int sm_mhz, memory_mhz;
    int power_w, idle_w;
    uint32_t device_id, subsystem_id; /* PCI: device << 16 | vendor */
    int brand;                        /* NVML's number */
    int architecture;                 /* NVML's number */
    int pcie_generation;
    int nvlinks;        /* 0: the GPU has none */
    int nvlink_version; /* NVML's number */
    bool ecc;
    bool fan;
    int mig_slices;          /* parts into which the GPU can be cut; 0: it can't */
    int mig_multiprocessors; /* of each */
    const sim_mig_kind *mig_kinds;
} sim_profile;

/* What a driver on a GPU takes for the smallest things. */
typedef struct sim_latencies {
    uint32_t launch_ns; /* of the host, for a launch */
    uint32_t record_ns; /* of the host, for recording an event */
    uint32_t start_ns;  /* until an idle GPU starts what it was given */
    uint32_t notice_ns; /* until the host can see that something is complete */
} sim_latencies;

/* The figures for a GPU model under a driver of this branch (535, 550, …). */
sim_latencies sim_latencies_of(const char *profile, int branch);

extern const sim_profile sim_profiles[];
extern const unsigned sim_profile_count;

/* Index of a profile, or -1. */
int sim_profile_find(const char *key);

#endif
