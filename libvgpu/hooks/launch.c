/* One call that launches on several GPUs. Each launch is charged to its own GPU. The other launch functions are in
 * launches.h. */
#include <stdlib.h>

#include "libvgpu/compute/captures.h"
#include "libvgpu/compute/launch.h"
#include "libvgpu/compute/launch_run.h"
#include "libvgpu/hooks/hooks.h"

#define GPUS_MOST 32

CUresult hook_cuLaunchCooperativeKernelMultiDevice(__typeof__(&cuLaunchCooperativeKernelMultiDevice) driver,
                                                   CUDA_LAUNCH_PARAMS *launch_params_list, unsigned int device_count,
                                                   unsigned int flags) {
    struct launch *launches = NULL;
    if (launch_params_list != NULL && device_count <= GPUS_MOST) {
        launches = calloc(GPUS_MOST, sizeof *launches);
    }
    if (launches == NULL) {
        return driver(launch_params_list, device_count, flags);
    }
    launch_close_run();
    for (unsigned place = 0; place < device_count; place++) {
        const CUDA_LAUNCH_PARAMS *wanted = &launch_params_list[place];
        struct cost_key key =
            cost_key_of_kernel(wanted->function, wanted->grid_x, wanted->grid_y, wanted->grid_z, wanted->block_x,
                               wanted->block_y, wanted->block_z, wanted->shared_bytes);
        launch_begin_alone(&launches[place], &key, wanted->stream);
    }
    CUresult result = driver(launch_params_list, device_count, flags);
    for (unsigned place = 0; place < device_count; place++) {
        launch_end(&launches[place], result);
    }
    free(launches);
    return result;
}
