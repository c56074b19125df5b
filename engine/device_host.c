/* The CPU as a device: anonymous memory on huge pages where the system gives them. */
#include "engine/device.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

static size_t round_up(size_t bytes) {
    const size_t unit = bytes >= HUGE_PAGE ? HUGE_PAGE : 4096;
    return (bytes + unit - 1) / unit * unit;
}

static Status cpu_open(Device *device, Error *error) {
    (void)error;
    device->isa = isa_best();
    return STATUS_OK;
}

static void cpu_close(Device *device) {
    (void)device;
}

/* A number from a one-value or "KEY: value kB" text file; -1 when it is not there. */
static int64_t read_number(const char *path, const char *key) {
    FILE *file = fopen(path, "r");
    if (!file) return -1;
    char line[256];
    int64_t value = -1;
    const size_t length = strlen(key);
    while (value < 0 && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) != 0) continue;
        char *end;
        const long long parsed = strtoll(line + length, &end, 10);
        if (end != line + length) value = length ? parsed * 1024 : parsed;
    }
    fclose(file);
    return value;
}

static int64_t cpu_available(const Device *device) {
    (void)device;
    int64_t available = read_number("/proc/meminfo", "MemAvailable:");
    if (available < 0) available = INT64_MAX;
    const int64_t limit = read_number("/sys/fs/cgroup/memory.max", "");
    const int64_t used = read_number("/sys/fs/cgroup/memory.current", "");
    if (limit >= 0 && used >= 0 && limit - used < available) available = limit - used;
    return available;
}

static Status cpu_allocate(Device *device, size_t bytes, void **memory, Error *error) {
    const size_t size = round_up(bytes ? bytes : 1);
    const int64_t available = cpu_available(device);
    void *start = MAP_FAILED;
    if ((uint64_t)size <= (uint64_t)available)
        start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        return error_set(error, STATUS_USAGE,
                         "%zu bytes (%.2f GiB) of memory are needed and %" PRId64
                         " (%.2f GiB) are available; use a smaller batch, micro_batch, length or "
                         "width, or recompute=yes",
                         bytes, (double)bytes / 0x1p30, available, (double)available / 0x1p30);
    if (size >= HUGE_PAGE) madvise(start, size, MADV_HUGEPAGE);
    *memory = start;
    return STATUS_OK;
}

static void cpu_release(Device *device, void *memory, size_t bytes) {
    (void)device;
    if (memory) munmap(memory, round_up(bytes ? bytes : 1));
}

static const OpKernels *cpu_kernels(const Device *device, const Op *op) {
    return op->cpu[device->isa];
}

static void cpu_describe(const Device *device, char *text, size_t bytes) {
    char model[128] = "unknown processor";
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        snprintf(model, sizeof model, "%s", colon + 2);
        model[strcspn(model, "\n")] = '\0';
        break;
    }
    if (file) fclose(file);
    snprintf(text, bytes, "%s, %s kernels", model, isa_name(device->isa));
}

extern const DeviceKind device_cpu;
const DeviceKind device_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .allocate = cpu_allocate,
    .release = cpu_release,
    .kernels = cpu_kernels,
    .available = cpu_available,
    .describe = cpu_describe,
};
