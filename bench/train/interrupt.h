/* SIGINT, SIGTERM, SIGHUP and SIGUSR1 (by which Slurm warns of the end of a job's time: sbatch
 * --signal) ask the program to finish its step, save and leave. */
#ifndef LONGHAUL_INTERRUPT_H
#define LONGHAUL_INTERRUPT_H

#include <stdbool.h>

/* From here on the first of these signals is only noted. The second of the same kind ends the
 * program at once: what is on disk stands. A signal that the caller has ignored (nohup) stays so.
 */
void interrupt_install(void);

/* Whether a signal of this number asks for that. */
bool interrupt_is(int number);

bool interrupt_asked(void);

#endif
