/* The figures of the kernel benchmark: the roofline, and the share of the roof as bars. */
#ifndef LONGHAUL_KERNELS_FIGURE_H
#define LONGHAUL_KERNELS_FIGURE_H

#include "bench/report/chart.h"
#include "bench/speed/kernels.h"

/* Charts without panels when nothing was measured. Free with chart_free. */
Chart kernels_roofline(const KernelReport *report);
Chart kernels_bars(const KernelReport *report);

#endif
