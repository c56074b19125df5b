/* `longhaul check`: every operation against its double-precision reference, and every model against
 * the properties that all models share. Nothing here knows a particular operation or model. */
#ifndef LONGHAUL_CHECK_H
#define LONGHAUL_CHECK_H

#include <stdio.h>

#include "engine/device.h"
#include "models/model.h"

typedef struct CheckOptions {
    const char *filter; /* part of "op/NAME/CASE/isa" or "model/NAME/PROPERTY"; NULL: all */
    bool verbose;       /* a line per check, not only per failure */
    double sabotage;    /* relative error put into one output and one gradient: must be caught */
    const char
        *device;       /* whose kernels; NULL: the CPU's, of operations for every instruction set */
    Products products; /* what a GPU's matrix products round their inputs to; widens tolerances */
    double work_limit; /* benchmark rows above so many FLOPs are left out; 0: 1e9 */
    bool one_order;    /* not also on 2 and 3 threads; gradients accumulate in every other row only,
                          which does not compare them then */
    /* "key=value key=value" of the backbone or the model, for other models than the usual ones;
     * NULL: none. */
    const char *settings;
    FILE *out;
} CheckOptions;

typedef struct CheckCount {
    int passed, failed, exempt;
} CheckCount;

void check_ops(const CheckOptions *options, CheckCount *count);
void check_models(const CheckOptions *options, CheckCount *count);

/* A cell's folder, or every one in the folder of a suite: result, log, configuration and checkpoint
 * are whole and belong together. STATUS_DATA when there is no cell. bench/check/check_run.c. */
Status check_runs(const CheckOptions *options, const char *folder, CheckCount *count, Error *error);

/* Reports one check: name is a path, detail is printf-style and says measured and allowed. */
void check_report(const CheckOptions *options, CheckCount *count, bool good, const char *name,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

bool check_selected(const CheckOptions *options, const char *name);

#endif
