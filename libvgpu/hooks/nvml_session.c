/* The program's sessions of NVML. libvgpu may have one of its own, of which the program sees nothing: it can't end it, and when
 * the program's last one ends, NVML is as unusable to it as without libvgpu. */
#include "libvgpu/driver/devices.h"
#include "libvgpu/hooks/hooks.h"

static unsigned sessions; /* of the program */

static nvmlReturn_t begun(nvmlReturn_t result) {
    if (result == NVML_SUCCESS) {
        __atomic_add_fetch(&sessions, 1, __ATOMIC_ACQ_REL);
    }
    return result;
}

nvmlReturn_t hook_nvmlInit(__typeof__(&nvmlInit) driver) {
    return begun(driver());
}

nvmlReturn_t hook_nvmlInit_v2(__typeof__(&nvmlInit_v2) driver) {
    return begun(driver());
}

nvmlReturn_t hook_nvmlInitWithFlags(__typeof__(&nvmlInitWithFlags) driver, unsigned int flags) {
    return begun(driver(flags));
}

nvmlReturn_t hook_nvmlShutdown(__typeof__(&nvmlShutdown) driver) {
    unsigned before = __atomic_load_n(&sessions, __ATOMIC_ACQUIRE);
    do {
        if (before == 0) {
            return devices_have_nvml() ? NVML_ERROR_UNINITIALIZED : driver();
        }
    } while (!__atomic_compare_exchange_n(&sessions, &before, before - 1, true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    if (before == 1) {
        devices_end_nvml();
    }
    return driver();
}
