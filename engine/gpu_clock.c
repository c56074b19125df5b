#include "engine/gpu_clock.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* Of NVML's reference manual: the names, types and numbers that are used here. */
enum { NVML_SUCCESS = 0, NVML_CLOCK_SM = 1 };
typedef struct NvmlDevice *NvmlDevice;

struct GpuClock {
    void *library;
    NvmlDevice device;
    int (*shutdown)(void);
    int (*clock)(NvmlDevice, int type, unsigned *megahertz);
    int (*highest)(NvmlDevice, int type, unsigned *megahertz);
    int (*reasons)(NvmlDevice, unsigned long long *bits);
};

static const struct {
    uint64_t bit;
    const char *words;
} reasons[] = {
    {0x04, "power limit"},          {0x08, "hardware slowdown"},    {0x20, "temperature"},
    {0x40, "hardware temperature"}, {0x80, "external power brake"},
};

/* dlsym gives data pointers; a union turns them into the functions that they are. */
typedef union Symbol {
    void *data;
    int (*init)(void);
    int (*by_address)(const char *, NvmlDevice *);
    int (*number)(NvmlDevice, int, unsigned *);
    int (*bits)(NvmlDevice, unsigned long long *);
} Symbol;

static Symbol symbol(const GpuClock *clock, const char *name) {
    return (Symbol){.data = dlsym(clock->library, name)};
}

static bool find(GpuClock *clock, const char *address) {
    clock->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!clock->library) return false;
    const Symbol init = symbol(clock, "nvmlInit_v2");
    const Symbol by_address = symbol(clock, "nvmlDeviceGetHandleByPciBusId_v2");
    Symbol bits = symbol(clock, "nvmlDeviceGetCurrentClocksEventReasons");
    if (!bits.data) bits = symbol(clock, "nvmlDeviceGetCurrentClocksThrottleReasons"); /* older */
    clock->clock = symbol(clock, "nvmlDeviceGetClockInfo").number;
    clock->highest = symbol(clock, "nvmlDeviceGetMaxClockInfo").number;
    clock->reasons = bits.bits;
    const Symbol shutdown = symbol(clock, "nvmlShutdown");
    if (!init.data || !by_address.data || !clock->clock || !clock->highest || !clock->reasons ||
        !shutdown.data || init.init() != NVML_SUCCESS)
        return false;
    clock->shutdown = shutdown.init;
    return by_address.by_address(address, &clock->device) == NVML_SUCCESS;
}

GpuClock *gpu_clock_open(const char *address) {
    GpuClock *clock = calloc(1, sizeof *clock);
    if (clock && find(clock, address)) return clock;
    gpu_clock_close(clock);
    return NULL;
}

void gpu_clock_close(GpuClock *clock) {
    if (!clock) return;
    if (clock->shutdown) clock->shutdown();
    if (clock->library) dlclose(clock->library);
    free(clock);
}

bool gpu_clock_read(const GpuClock *clock, GpuClockReading *reading) {
    unsigned megahertz = 0;
    unsigned long long bits = 0;
    if (!clock || clock->clock(clock->device, NVML_CLOCK_SM, &megahertz) != NVML_SUCCESS ||
        clock->reasons(clock->device, &bits) != NVML_SUCCESS)
        return false;
    *reading = (GpuClockReading){.megahertz = megahertz};
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        reading->held |= bits & reasons[i].bit;
    return true;
}

double gpu_clock_highest(const GpuClock *clock) {
    unsigned megahertz = 0;
    if (!clock || clock->highest(clock->device, NVML_CLOCK_SM, &megahertz) != NVML_SUCCESS)
        return 0;
    return megahertz;
}

void gpu_clock_reasons(uint64_t held, char *text, size_t bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons && used < bytes; i++)
        if (held & reasons[i].bit)
            used += (size_t)snprintf(text + used, bytes - used, "%s%s", used ? ", " : "",
                                     reasons[i].words);
}
