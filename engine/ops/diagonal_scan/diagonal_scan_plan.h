/* How the CPU's kernels cut their work: a unit is UNIT modes of one sequence. */
#ifndef LONGHAUL_OPS_DIAGONAL_SCAN_PLAN_H
#define LONGHAUL_OPS_DIAGONAL_SCAN_PLAN_H

#include "engine/ops/diagonal_scan/diagonal_scan.h"

enum {
    DIAGONAL_SCAN_UNIT = 64, /* four vectors of the widest set: their recurrences hide each other's
                                latency */
    DIAGONAL_SCAN_TABLE = 4, /* Re, Im lambdabar, Re, Im phi, (P padded) each */
    DIAGONAL_SCAN_SUMS = 4   /* of a unit: Re, Im of lambdabar's cotangent and of phi's */
};

static inline int64_t diagonal_scan_groups(int64_t P) {
    return (P + DIAGONAL_SCAN_UNIT - 1) / DIAGONAL_SCAN_UNIT;
}

#endif
