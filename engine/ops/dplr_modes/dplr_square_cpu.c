/* Tiles of 4 rows and 2 vectors keep their sums in registers: 8 fused operations to 2 loads and 4
 * broadcasts. */
#include "engine/ops/dplr_modes/dplr_system.h"
#include "engine/vmath_double.h"

enum { ROWS = 4, VECTORS = 2 };

extern DplrSquare ISA(dplr_square);

void ISA(dplr_square)(int64_t n, const double *a, double *square) {
    for (int64_t j = 0; j < n; j += VECTORS * DOUBLES)
        for (int64_t i = 0; i < n; i += ROWS) {
            vdouble sum[ROWS][VECTORS];
            for (int r = 0; r < ROWS; r++)
                for (int v = 0; v < VECTORS; v++) sum[r][v] = d_set(0);
            for (int64_t k = 0; k < n; k++)
                for (int v = 0; v < VECTORS; v++) {
                    const vdouble b = d_load(a + k * n + j + v * DOUBLES);
                    for (int r = 0; r < ROWS; r++) sum[r][v] += a[(i + r) * n + k] * b;
                }
            for (int r = 0; r < ROWS; r++)
                for (int v = 0; v < VECTORS; v++)
                    d_store(square + (i + r) * n + j + v * DOUBLES, sum[r][v]);
        }
}
