/* `longhaul export`: one training step of a cell in a file that other tools read, and the measure
 * of a comparison with them: the same weights and inputs must give the same loss and gradients. */
#ifndef LONGHAUL_EXPORT_H
#define LONGHAUL_EXPORT_H

#include "bench/cell/cell.h"

/* Initial weights of the cell (or those of the file `weights`), its first training batch, and what
 * forward and backward make of them, dropout off. Tensors: parameter.NAME, gradient.NAME, tokens
 * (B, L) int32 or reals, positions (B, K), classes (B K), weights (B K), row_loss (B K), loss (1).
 * Metadata: every setting. STATUS_IO; STATUS_USAGE when it does not fit in memory. */
Status export_step(const Cell *cell, const char *weights, const char *path, int threads,
                   Error *error);

#endif
