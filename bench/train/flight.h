/* Steps in flight: what an optimiser step leaves for the host to look at. On a device with memory
 * of its own that is when the next step has been enqueued, so that the device never waits for the
 * host. */
#ifndef LONGHAUL_FLIGHT_H
#define LONGHAUL_FLIGHT_H

#include "engine/device.h"

enum { FLIGHTS = 2 };

typedef struct Flight {
    float *losses; /* one a replay */
    double *norm;  /* of the gradient */
    void *mark;    /* behind the step */
} Flight;

typedef struct Flights {
    Device *device;
    Flight list[FLIGHTS];
    void *memory; /* theirs, pinned where the device has its own */
} Flights;

/* replays: of one step. STATUS_USAGE when memory is short. flights_close also after that, and on
 * Flights that are zero. */
Status flights_open(Flights *flights, Device *device, int64_t replays, Error *error);
void flights_close(Flights *flights);

/* Of a step, whose place the one FLIGHTS steps later takes. */
Flight *flight_of(Flights *flights, int64_t step);

/* The step has been enqueued with all that it leaves. */
void flight_begun(Flights *flights, int64_t step);

/* Returns when the step's losses and norm are there; at once on the CPU. Fails only when the device
 * does. */
Status flight_wait(Flights *flights, int64_t step, Error *error);

#endif
