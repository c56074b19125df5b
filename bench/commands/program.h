/* The whole program but for its first line, so that tests can run it in a child of their own. */
#ifndef LONGHAUL_PROGRAM_H
#define LONGHAUL_PROGRAM_H

/* Runs the command that words[1] on name; returns the exit code (engine/status.h). */
int program_run(int count, char **words);

#endif
