/* Memory of other APIs. No other API runs on a simulated GPU: files of cuMemExportToShareableHandle stand in for what one would
 * export. The memory is its maker's, and costs the importer nothing. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "simulator/cuda/core/context.h"
#include "simulator/cuda/memory/ipc.h"
#include "simulator/cuda/memory/physical.h"

struct CUextMemory_st {
    object object;
    int file;
    size_t bytes;
};

CUresult cuImportExternalMemory(CUexternalMemory *ext_mem_out, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *wanted) {
    NEED_CONTEXT(current);
    NEED(ext_mem_out && wanted && wanted->size && wanted->flags <= 1, CUDA_ERROR_INVALID_VALUE);
    NEED(wanted->type == CU_EXTERNAL_HANDLE_TYPE_OPAQUE_FD || wanted->type == CU_EXTERNAL_MEMORY_HANDLE_TYPE_DMABUF_FD,
         CUDA_ERROR_NOT_SUPPORTED);
    struct stat found;
    NEED(fstat(wanted->handle.fd, &found) == 0 && memory_is_gpus(wanted->handle.fd), CUDA_ERROR_INVALID_HANDLE);
    NEED(wanted->size <= (unsigned long long)found.st_size, CUDA_ERROR_INVALID_VALUE);
    CUexternalMemory made = object_new(KIND_EXTERNAL_MEMORY, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->file = wanted->handle.fd; /* it belongs to the driver from here on */
    made->bytes = wanted->size;
    *ext_mem_out = made;
    return CUDA_SUCCESS;
}

CUresult cuExternalMemoryGetMappedBuffer(CUdeviceptr *dev_ptr, CUexternalMemory ext_mem,
                                         const CUDA_EXTERNAL_MEMORY_BUFFER_DESC *wanted) {
    NEED_CONTEXT(current);
    NEED(object_is(ext_mem, KIND_EXTERNAL_MEMORY), CUDA_ERROR_INVALID_HANDLE);
    NEED(dev_ptr && wanted && wanted->size && wanted->flags == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(wanted->size <= ext_mem->bytes && wanted->offset <= ext_mem->bytes - wanted->size, CUDA_ERROR_INVALID_VALUE);
    int copy = fcntl(ext_mem->file, F_DUPFD_CLOEXEC, 3);
    NEED(copy >= 0, CUDA_ERROR_OPERATING_SYSTEM);
    CUresult result = ipc_map(copy, wanted->offset, dev_ptr);
    if (result != CUDA_SUCCESS) {
        close(copy);
    }
    return result;
}

CUresult cuDestroyExternalMemory(CUexternalMemory ext_mem) {
    NEED_CONTEXT(current);
    NEED(object_is(ext_mem, KIND_EXTERNAL_MEMORY), CUDA_ERROR_INVALID_HANDLE);
    close(ext_mem->file); /* buffers that are still mapped stay until they are freed */
    object_end(ext_mem);
    return CUDA_SUCCESS;
}
