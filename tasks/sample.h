/* Memory for one sample of a problem. */
#ifndef LONGHAUL_SAMPLE_H
#define LONGHAUL_SAMPLE_H

#include "tasks/task.h"

/* Zeroed memory of the problem's shape; never fails (ends the program without memory). */
void sample_open(const Problem *problem, Sample *sample);
void sample_close(Sample *sample);

#endif
