#include "engine/device.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

extern const DeviceKind device_cpu, device_cuda, device_cuda_emulated, device_cuda_races;

static const DeviceKind *const kinds[] = {&device_cpu, &device_cuda, &device_cuda_emulated,
                                          &device_cuda_races};

const DeviceKind *const *device_list(int *count) {
    *count = (int)(sizeof kinds / sizeof kinds[0]);
    return kinds;
}

void device_flush_denormals(void) {
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040u); /* flush to zero, denormals are zero */
#endif
}

bool device_denormals_flushed(void) {
    volatile const float smallest = FLT_MIN;
    volatile const float half = smallest / 2;
    return half == 0;
}

Status device_open(Device *device, const char *name, Error *error) {
    int count;
    const DeviceKind *const *list = device_list(&count);
    for (int i = 0; i < count; i++) {
        if (strcmp(list[i]->name, name) != 0) continue;
        *device = (Device){.kind = list[i]};
        device_flush_denormals();
        return list[i]->open(device, error);
    }
    char known[256] = "";
    size_t used = 0;
    for (int i = 0; i < count; i++)
        if (!list[i]->for_tests)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                     list[i]->name);
    return error_set(error, STATUS_USAGE, "there is no device '%s' in this build; it has: %s", name,
                     known);
}

void device_close(Device *device) {
    if (device->kind) device->kind->close(device);
    *device = (Device){0};
}

void device_upload(Device *device, void *to, const void *from, size_t bytes) {
    if (device->kind->remote)
        device->kind->remote->upload(device, to, from, bytes);
    else
        memcpy(to, from, bytes);
}

void device_download(Device *device, void *to, const void *from, size_t bytes) {
    if (device->kind->remote)
        device->kind->remote->download(device, to, from, bytes);
    else
        memcpy(to, from, bytes);
}

void device_zero(Device *device, void *memory, size_t bytes) {
    if (device->kind->remote)
        device->kind->remote->zero(device, memory, bytes);
    else
        memset(memory, 0, bytes);
}

void device_copy(Device *device, void *to, const void *from, size_t bytes) {
    if (device->kind->remote)
        device->kind->remote->copy(device, to, from, bytes);
    else
        memcpy(to, from, bytes);
}

Status device_synchronise(Device *device, Error *error) {
    return device->kind->remote ? device->kind->remote->synchronise(device, error) : STATUS_OK;
}
