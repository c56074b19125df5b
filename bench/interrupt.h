/* SIGINT, SIGTERM and SIGHUP ask the program to finish its step, save and leave. */
#ifndef LONGHAUL_INTERRUPT_H
#define LONGHAUL_INTERRUPT_H

#include <stdbool.h>

/* From here on the first of these signals is only noted. The second of the same kind ends the
 * program at once: what is on disk stands. A signal that the caller has ignored (nohup) stays so.
 */
void interrupt_install(void);

bool interrupt_asked(void);

#endif
