#include "simulator/state/profiles.h"

#include <string.h>

/* NVML's numbers for brands and architectures. */
enum { BRAND_TESLA = 2, BRAND_NVIDIA_RTX = 12, BRAND_NVIDIA = 14, BRAND_GEFORCE_RTX = 15 };
enum { PASCAL = 4, VOLTA = 5, TURING = 6, AMPERE = 7, ADA = 8, HOPPER = 9, BLACKWELL = 10 };

const sim_profile sim_profiles[] = {
    {.key = "t4", .name = "Tesla T4", .memory_mib = 15360, .reserved_mib = 266, .context_mib = 103,
     .major = 7, .minor = 5, .multiprocessors = 40, .cores_per_multiprocessor = 64,
     .threads_per_multiprocessor = 1024, .shared_kib_per_multiprocessor = 64, .shared_kib_optin = 64, .l2_mib = 4,
     .bus_bits = 256, .sm_mhz = 1590, .memory_mhz = 5001, .power_w = 70, .idle_w = 9,
     .device_id = 0x1EB810DE, .subsystem_id = 0x12A210DE, .brand = BRAND_TESLA, .architecture = TURING,
     .pcie_generation = 3, .ecc = true},
    {.key = "p40", .name = "Tesla P40", .memory_mib = 24576, .reserved_mib = 0, .context_mib = 145,
     .major = 6, .minor = 1, .multiprocessors = 30, .cores_per_multiprocessor = 128,
     .threads_per_multiprocessor = 2048, .shared_kib_per_multiprocessor = 96, .shared_kib_optin = 48, .l2_mib = 3,
     .bus_bits = 384, .sm_mhz = 1531, .memory_mhz = 3615, .power_w = 250, .idle_w = 10,
     .device_id = 0x1B3810DE, .subsystem_id = 0x11D910DE, .brand = BRAND_TESLA, .architecture = PASCAL,
     .pcie_generation = 3},
    {.key = "v100", .name = "Tesla V100-SXM2-32GB", .memory_mib = 32768, .reserved_mib = 268, .context_mib = 307,
     .major = 7, .minor = 0, .multiprocessors = 80, .cores_per_multiprocessor = 64,
     .threads_per_multiprocessor = 2048, .shared_kib_per_multiprocessor = 96, .shared_kib_optin = 96, .l2_mib = 6,
     .bus_bits = 4096, .sm_mhz = 1530, .memory_mhz = 877, .power_w = 300, .idle_w = 42,
     .device_id = 0x1DB510DE, .subsystem_id = 0x124910DE, .brand = BRAND_TESLA, .architecture = VOLTA,
     .pcie_generation = 3, .nvlinks = 6, .nvlink_version = 2, .ecc = true},
    {.key = "a10", .name = "NVIDIA A10", .memory_mib = 23028, .reserved_mib = 298, .context_mib = 247,
     .major = 8, .minor = 6, .multiprocessors = 72, .cores_per_multiprocessor = 128,
     .threads_per_multiprocessor = 1536, .shared_kib_per_multiprocessor = 100, .shared_kib_optin = 99, .l2_mib = 6,
     .bus_bits = 384, .sm_mhz = 1695, .memory_mhz = 6251, .power_w = 150, .idle_w = 20,
     .device_id = 0x223610DE, .subsystem_id = 0x148210DE, .brand = BRAND_NVIDIA, .architecture = AMPERE,
     .pcie_generation = 4, .ecc = true},
    {.key = "a40", .name = "NVIDIA A40", .memory_mib = 46068, .reserved_mib = 434, .context_mib = 259,
     .major = 8, .minor = 6, .multiprocessors = 84, .cores_per_multiprocessor = 128,
     .threads_per_multiprocessor = 1536, .shared_kib_per_multiprocessor = 100, .shared_kib_optin = 99, .l2_mib = 6,
     .bus_bits = 384, .sm_mhz = 1740, .memory_mhz = 7251, .power_w = 300, .idle_w = 30,
     .device_id = 0x223510DE, .subsystem_id = 0x145A10DE, .brand = BRAND_NVIDIA, .architecture = AMPERE,
     .pcie_generation = 4, .ecc = true},
    {.key = "a100-40", .name = "NVIDIA A100-SXM4-40GB", .memory_mib = 40960, .reserved_mib = 423,
     .context_mib = 409, .major = 8, .minor = 0, .multiprocessors = 108, .cores_per_multiprocessor = 64,
     .threads_per_multiprocessor = 2048, .shared_kib_per_multiprocessor = 164, .shared_kib_optin = 163, .l2_mib = 40,
     .bus_bits = 5120, .sm_mhz = 1410, .memory_mhz = 1215, .power_w = 400, .idle_w = 52,
     .device_id = 0x20B010DE, .subsystem_id = 0x134F10DE, .brand = BRAND_NVIDIA, .architecture = AMPERE,
     .pcie_generation = 4, .nvlinks = 12, .nvlink_version = 3, .ecc = true, .mig = true},
    {.key = "a100-80", .name = "NVIDIA A100-SXM4-80GB", .memory_mib = 81920, .reserved_mib = 673,
     .context_mib = 415, .major = 8, .minor = 0, .multiprocessors = 108, .cores_per_multiprocessor = 64,
     .threads_per_multiprocessor = 2048, .shared_kib_per_multiprocessor = 164, .shared_kib_optin = 163, .l2_mib = 40,
     .bus_bits = 5120, .sm_mhz = 1410, .memory_mhz = 1593, .power_w = 400, .idle_w = 60,
     .device_id = 0x20B210DE, .subsystem_id = 0x146310DE, .brand = BRAND_NVIDIA, .architecture = AMPERE,
     .pcie_generation = 4, .nvlinks = 12, .nvlink_version = 3, .ecc = true, .mig = true},
    {.key = "h100", .name = "NVIDIA H100 80GB HBM3", .memory_mib = 81559, .reserved_mib = 555, .context_mib = 517,
     .major = 9, .minor = 0, .multiprocessors = 132, .cores_per_multiprocessor = 128,
     .threads_per_multiprocessor = 2048, .shared_kib_per_multiprocessor = 228, .shared_kib_optin = 227, .l2_mib = 50,
     .bus_bits = 5120, .sm_mhz = 1980, .memory_mhz = 2619, .power_w = 700, .idle_w = 70,
     .device_id = 0x233010DE, .subsystem_id = 0x16C110DE, .brand = BRAND_NVIDIA, .architecture = HOPPER,
     .pcie_generation = 5, .nvlinks = 18, .nvlink_version = 4, .ecc = true, .mig = true},
    {.key = "l40s", .name = "NVIDIA L40S", .memory_mib = 46068, .reserved_mib = 608, .context_mib = 417,
     .major = 8, .minor = 9, .multiprocessors = 142, .cores_per_multiprocessor = 128,
     .threads_per_multiprocessor = 1536, .shared_kib_per_multiprocessor = 100, .shared_kib_optin = 99, .l2_mib = 96,
     .bus_bits = 384, .sm_mhz = 2520, .memory_mhz = 9001, .power_w = 350, .idle_w = 33,
     .device_id = 0x26B910DE, .subsystem_id = 0x185110DE, .brand = BRAND_NVIDIA, .architecture = ADA,
     .pcie_generation = 4, .ecc = true},
    {.key = "rtx4090", .name = "NVIDIA GeForce RTX 4090", .memory_mib = 24576, .reserved_mib = 0,
     .context_mib = 362, .major = 8, .minor = 9, .multiprocessors = 128, .cores_per_multiprocessor = 128,
     .threads_per_multiprocessor = 1536, .shared_kib_per_multiprocessor = 100, .shared_kib_optin = 99, .l2_mib = 72,
     .bus_bits = 384, .sm_mhz = 3105, .memory_mhz = 10501, .power_w = 450, .idle_w = 22,
     .device_id = 0x268410DE, .subsystem_id = 0x40E51458, .brand = BRAND_GEFORCE_RTX, .architecture = ADA,
     .pcie_generation = 4, .fan = true},
    {.key = "rtxpro6000", .name = "NVIDIA RTX PRO 6000 Blackwell Server Edition", .memory_mib = 97887,
     .reserved_mib = 638, .context_mib = 500, .major = 12, .minor = 0, .multiprocessors = 188,
     .cores_per_multiprocessor = 128, .threads_per_multiprocessor = 1536, .shared_kib_per_multiprocessor = 100,
     .shared_kib_optin = 99, .l2_mib = 128, .bus_bits = 512, .sm_mhz = 2430, .memory_mhz = 12481, .power_w = 600,
     .idle_w = 39, .device_id = 0x2BB510DE, .subsystem_id = 0x204E10DE, .brand = BRAND_NVIDIA_RTX,
     .architecture = BLACKWELL, .pcie_generation = 5, .ecc = true, .mig = true},
};

const unsigned sim_profile_count = sizeof sim_profiles / sizeof *sim_profiles;

int sim_profile_find(const char *key) {
    for (unsigned index = 0; index < sim_profile_count; index++) {
        if (strcmp(sim_profiles[index].key, key) == 0) {
            return (int)index;
        }
    }
    return -1;
}
