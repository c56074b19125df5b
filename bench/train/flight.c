#include "bench/train/flight.h"

#include <stdlib.h>

#include "engine/memory.h"

Status flights_open(Flights *flights, Device *device, int64_t replays, Error *error) {
    *flights = (Flights){.device = device};
    const size_t each = sizeof(double) * (size_t)(1 + (replays + 1) / 2);
    const DeviceRemote *remote = device->kind->remote;
    if (!remote)
        flights->memory = memory_take_zeroed(FLIGHTS, each);
    else if (remote->pin(device, FLIGHTS * each, &flights->memory, error) != STATUS_OK)
        return error->status;
    for (int i = 0; i < FLIGHTS; i++) {
        flights->list[i].norm = (double *)((char *)flights->memory + (size_t)i * each);
        flights->list[i].losses = (float *)(flights->list[i].norm + 1);
    }
    return STATUS_OK;
}

void flights_close(Flights *flights) {
    Device *device = flights->device;
    const DeviceRemote *remote = device ? device->kind->remote : NULL;
    for (int i = 0; remote && i < FLIGHTS; i++) remote->drop(device, flights->list[i].mark);
    if (remote && flights->memory)
        remote->unpin(device, flights->memory);
    else
        free(flights->memory);
    *flights = (Flights){0};
}

Flight *flight_of(Flights *flights, int64_t step) {
    return &flights->list[step % FLIGHTS];
}

void flight_begun(Flights *flights, int64_t step) {
    const DeviceRemote *remote = flights->device->kind->remote;
    Flight *flight = flight_of(flights, step);
    if (remote) flight->mark = remote->mark(flights->device, flight->mark);
}

Status flight_wait(Flights *flights, int64_t step, Error *error) {
    const DeviceRemote *remote = flights->device->kind->remote;
    return remote ? remote->wait(flights->device, flight_of(flights, step)->mark, error)
                  : STATUS_OK;
}
