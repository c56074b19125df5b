/* The largest resident set of this process since it was last asked to forget it. */
#ifndef LONGHAUL_SPEED_MEMORY_H
#define LONGHAUL_SPEED_MEMORY_H

#include <stdint.h>

void peak_memory_reset(void);
int64_t peak_memory(void); /* bytes; 0 when the system does not tell */

#endif
