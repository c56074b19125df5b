/* The clock of an NVIDIA GPU and what holds it down, from the driver's management library (NVML),
 * which is loaded at run time: a machine without it just does not tell. */
#ifndef LONGHAUL_GPU_CLOCK_H
#define LONGHAUL_GPU_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct GpuClock GpuClock;

typedef struct GpuClockReading {
    double megahertz; /* of the multiprocessors, now */
    uint64_t held;    /* reasons, a bit each, for which the GPU runs slower than it could; 0: none.
                       * Being idle and a clock that the user has set are not among them. */
} GpuClockReading;

/* address: the GPU's place on the PCI bus. NULL: no library, no such GPU. */
GpuClock *gpu_clock_open(const char *address);
void gpu_clock_close(GpuClock *clock);

/* False: the driver does not tell (or clock is NULL). */
bool gpu_clock_read(const GpuClock *clock, GpuClockReading *reading);

/* The highest clock of the multiprocessors in MHz; 0: unknown. */
double gpu_clock_highest(const GpuClock *clock);

/* The reasons in words: "power limit, temperature". */
void gpu_clock_reasons(uint64_t held, char *text, size_t bytes);

#endif
