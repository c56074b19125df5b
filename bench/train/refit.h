/* A trained cell under other settings: longer sequences, other data, another memory. Allowed is
 * what leaves the weights as they were trained; everything else is refused by the name of its key.
 */
#ifndef LONGHAUL_REFIT_H
#define LONGHAUL_REFIT_H

#include "bench/cell/cell.h"
#include "engine/parameter.h"

/* Builds *cell from the settings that it was trained with and the changes, to be evaluated with the
 * trained weights (Cell.trained_length is set). *as_trained: the parameters of the network that was
 * trained, not allocated, for weights_fit; the caller closes them. STATUS_USAGE for a change that
 * gives a weight another shape, adds or removes one, has no part in an evaluation, or lengthens
 * sequences where weights would then compute something else. Nothing to close after an error. */
Status cell_refit(Cell *cell, const Settings *trained, const Settings *changes,
                  Parameters **as_trained, Error *error);

#endif
