/* Long convolution tap by tap, for short filters and short sequences. */
#ifndef LONGHAUL_LONG_CONVOLUTION_DIRECT_H
#define LONGHAUL_LONG_CONVOLUTION_DIRECT_H

#include "engine/ops/long_convolution/long_convolution_lanes.h"

typedef void LongConvolutionDirect(const Convolution *c, const Run *run);
extern LongConvolutionDirect long_convolution_direct_portable, long_convolution_direct_avx2,
    long_convolution_direct_avx512, long_convolution_direct_backward_portable,
    long_convolution_direct_backward_avx2, long_convolution_direct_backward_avx512;

#endif
