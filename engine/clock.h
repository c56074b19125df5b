/* The clock that durations are measured with. */
#ifndef LONGHAUL_CLOCK_H
#define LONGHAUL_CLOCK_H

/* Seconds since an arbitrary start, monotonic. */
double seconds_now(void);

#endif
