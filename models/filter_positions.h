/* Where a tap of an implicit filter stands, for the network that makes the filter (Hyena, Poli et
 * al. 2023, arXiv 2302.10866, section 3.3; BaseConv, Arora et al. 2023, arXiv 2312.04927). */
#ifndef LONGHAUL_MODELS_FILTER_POSITIONS_H
#define LONGHAUL_MODELS_FILTER_POSITIONS_H

#include "engine/tape.h"

/* (Lmax, F), F odd: t / (Lmax - 1), cos(f w_t) .., -sin(f w_t) .., w_t = 2 pi t / Lmax, for (F - 1)
 * / 2 frequencies f from 1e-4 in even steps to one less than their number. */
Init filter_positions(void);

#endif
