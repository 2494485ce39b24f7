/* Utilisation, clocks, power and temperature. All of them follow from the time in which kernels ran. */
#include "simulator/nvml/library.h"

enum {
    WINDOW_US = 166667,
    IDLE_CELSIUS = 34,
    BUSY_CELSIUS = 71,
    SLOWDOWN_CELSIUS = 90,
    SHUTDOWN_CELSIUS = 95,
    WORKING_CELSIUS = 85
};
enum { SHUTDOWN_THRESHOLD = 0, SLOWDOWN_THRESHOLD = 1, WORKING_THRESHOLD = 3 };

static double between(double low, double high, double part) {
    return low + (high - low) * part;
}

static bool active(nvmlDevice_t device) {
    sim_process_reap(nvml.machine);
    return __atomic_load_n(&device->card->used, __ATOMIC_RELAXED) != 0;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    NEED_DEVICE(device, rates);
    NEED(!device->card->settings.mig, NVML_ERROR_NOT_SUPPORTED);
    double load = sim_load(nvml.machine, device->gpu);
    rates->gpu = (unsigned)(load * 100 + 0.5);
    rates->memory = (unsigned)(load * 50 + 0.5);
    return NVML_SUCCESS;
}

static nvmlReturn_t unused_engine(nvmlDevice_t device, unsigned *percent, unsigned *period_us) {
    NEED_DEVICE(device, percent);
    NEED(period_us, NVML_ERROR_INVALID_ARGUMENT);
    *percent = 0;
    *period_us = WINDOW_US;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEncoderUtilization(nvmlDevice_t device, unsigned int *percent, unsigned int *period_us) {
    return unused_engine(device, percent, period_us);
}

nvmlReturn_t nvmlDeviceGetDecoderUtilization(nvmlDevice_t device, unsigned int *percent, unsigned int *period_us) {
    return unused_engine(device, percent, period_us);
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, unsigned int sensor, unsigned int *celsius) {
    NEED_DEVICE(device, celsius);
    NEED(sensor == 0, NVML_ERROR_INVALID_ARGUMENT);
    *celsius = (unsigned)(between(IDLE_CELSIUS, BUSY_CELSIUS, sim_load(nvml.machine, device->gpu)) + 0.5);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_v1_t *temperature) {
    NEED_DEVICE(device, temperature);
    NEED(temperature->version == NVML_VERSION(*temperature, 1), NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    unsigned celsius;
    nvmlReturn_t result = nvmlDeviceGetTemperature(device, temperature->sensor, &celsius);
    NEED(result == NVML_SUCCESS, result);
    temperature->temperature = (int)celsius;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperatureThreshold(nvmlDevice_t device, unsigned int threshold, unsigned int *celsius) {
    NEED_DEVICE(device, celsius);
    switch (threshold) {
    case SHUTDOWN_THRESHOLD: *celsius = SHUTDOWN_CELSIUS; return NVML_SUCCESS;
    case SLOWDOWN_THRESHOLD: *celsius = SLOWDOWN_CELSIUS; return NVML_SUCCESS;
    case WORKING_THRESHOLD: *celsius = WORKING_CELSIUS; return NVML_SUCCESS;
    default: return threshold < 8 ? NVML_ERROR_NOT_SUPPORTED : NVML_ERROR_INVALID_ARGUMENT;
    }
}

/* Since Ada, GPUs tell how far they are from the highest temperature at which they work. */
nvmlReturn_t margin_of_threshold(nvmlDevice_t device, unsigned threshold, int *celsius) {
    enum { FIRST_ARCHITECTURE = 9 };
    NEED_DEVICE(device, celsius);
    NEED(device->profile->architecture >= FIRST_ARCHITECTURE, NVML_ERROR_NOT_SUPPORTED);
    unsigned at;
    nvmlReturn_t result = nvmlDeviceGetTemperatureThreshold(device, threshold, &at);
    *celsius = WORKING_CELSIUS - (int)at;
    return result;
}

nvmlReturn_t margin_now(nvmlDevice_t device, int *celsius) {
    unsigned now;
    nvmlReturn_t result = margin_of_threshold(device, SLOWDOWN_THRESHOLD, celsius);
    NEED(result == NVML_SUCCESS, result);
    result = nvmlDeviceGetTemperature(device, 0, &now);
    *celsius = WORKING_CELSIUS - (int)now;
    return result;
}

nvmlReturn_t nvmlDeviceGetMarginTemperature(nvmlDevice_t device, nvmlMarginTemperature_v1_t *answer) {
    NEED_DEVICE(device, answer);
    NEED(answer->version == NVML_VERSION(*answer, 1), NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    return margin_now(device, &answer->margin);
}

nvmlReturn_t nvmlDeviceGetNumFans(nvmlDevice_t device, unsigned int *count) {
    NEED_DEVICE(device, count);
    *count = device->profile->fan ? 1 : 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetFanSpeed_v2(nvmlDevice_t device, unsigned int fan, unsigned int *percent) {
    NEED_DEVICE(device, percent);
    NEED(device->profile->fan, NVML_ERROR_NOT_SUPPORTED);
    NEED(fan == 0, NVML_ERROR_INVALID_ARGUMENT);
    *percent = (unsigned)between(0, 60, sim_load(nvml.machine, device->gpu));
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetFanSpeed(nvmlDevice_t device, unsigned int *percent) {
    return nvmlDeviceGetFanSpeed_v2(device, 0, percent);
}

/* ---- Power, in milliwatts. */

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *milliwatts) {
    NEED_DEVICE(device, milliwatts);
    const sim_profile *profile = device->profile;
    double awake = active(device) ? profile->idle_w * 1.3 : profile->idle_w;
    *milliwatts = (unsigned)(1000 * between(awake, profile->power_w * 0.9, sim_load(nvml.machine, device->gpu)));
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t device, unsigned int *milliwatts) {
    NEED_DEVICE(device, milliwatts);
    *milliwatts = (unsigned)device->profile->power_w * 1000;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned int *milliwatts) {
    return nvmlDeviceGetPowerManagementLimit(device, milliwatts);
}

nvmlReturn_t nvmlDeviceGetPowerManagementDefaultLimit(nvmlDevice_t device, unsigned int *milliwatts) {
    return nvmlDeviceGetPowerManagementLimit(device, milliwatts);
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t device, unsigned int *lowest,
                                                          unsigned int *highest) {
    NEED_DEVICE(device, lowest);
    NEED(highest, NVML_ERROR_INVALID_ARGUMENT);
    *lowest = (unsigned)device->profile->power_w * 250;
    *highest = (unsigned)device->profile->power_w * 1000;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerManagementMode(nvmlDevice_t device, nvmlEnableState_t *mode) {
    NEED_DEVICE(device, mode);
    *mode = NVML_FEATURE_ENABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPerformanceState(nvmlDevice_t device, unsigned int *state) {
    enum { FASTEST = 0, SLOWEST = 8 };
    NEED_DEVICE(device, state);
    *state = active(device) || !device->profile->fan ? FASTEST : SLOWEST;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerState(nvmlDevice_t device, unsigned int *state) {
    return nvmlDeviceGetPerformanceState(device, state);
}

/* ---- Clocks, in MHz. */

static nvmlReturn_t highest_clock(nvmlDevice_t device, nvmlClockType_t type, unsigned *mhz) {
    NEED_DEVICE(device, mhz);
    switch (type) {
    case NVML_CLOCK_GRAPHICS:
    case NVML_CLOCK_SM: *mhz = (unsigned)device->profile->sm_mhz; return NVML_SUCCESS;
    case NVML_CLOCK_MEM: *mhz = (unsigned)device->profile->memory_mhz; return NVML_SUCCESS;
    case NVML_CLOCK_VIDEO: *mhz = (unsigned)device->profile->sm_mhz * 9 / 10; return NVML_SUCCESS;
    }
    return NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned int *mhz) {
    return highest_clock(device, type, mhz);
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned int *mhz) {
    nvmlReturn_t result = highest_clock(device, type, mhz);
    NEED(result == NVML_SUCCESS, result);
    if (!active(device)) {
        *mhz = type == NVML_CLOCK_MEM && !device->profile->fan ? *mhz : 210;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetClock(nvmlDevice_t device, nvmlClockType_t type, unsigned int which, unsigned int *mhz) {
    enum { CURRENT = 0, HIGHEST = 3 };
    NEED(which <= HIGHEST, NVML_ERROR_INVALID_ARGUMENT);
    return which == CURRENT ? nvmlDeviceGetClockInfo(device, type, mhz) : highest_clock(device, type, mhz);
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long *reasons) {
    NEED_DEVICE(device, reasons);
    *reasons = active(device) ? 0 : 1; /* 1: idle */
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long *reasons) {
    return nvmlDeviceGetCurrentClocksEventReasons(device, reasons);
}

nvmlReturn_t nvmlDeviceGetSupportedClocksEventReasons(nvmlDevice_t device, unsigned long long *reasons) {
    NEED_DEVICE(device, reasons);
    *reasons = 1;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetSupportedClocksThrottleReasons(nvmlDevice_t device, unsigned long long *reasons) {
    return nvmlDeviceGetSupportedClocksEventReasons(device, reasons);
}
