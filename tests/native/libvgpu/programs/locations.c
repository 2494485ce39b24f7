/* Prints, for each form of a location that a driver may know, the device that it is on, or `host`, or `none`. */
#include <stdio.h>

#include "libvgpu/memory/location.h"

int main(void) {
    /* The last form is of CUDA 13.5: device 3 in the first byte, part 1 in the second. */
    static const struct {
        int type, id;
    } forms[] = {{0, 0}, {1, 2}, {2, 0}, {3, 1}, {4, 0}, {5, -1}, {6, 0x0103}};
    for (size_t place = 0; place < sizeof forms / sizeof forms[0]; place++) {
        CUmemLocation location = {.type = (CUmemLocationType)forms[place].type, .id = forms[place].id};
        CUdevice device;
        if (location_on_device(location, &device)) {
            printf("%d ", device);
        } else {
            printf("%s ", location_on_host((int)location.type) ? "host" : "none");
        }
    }
    return 0;
}
