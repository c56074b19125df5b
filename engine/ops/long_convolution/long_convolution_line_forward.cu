/* The line from u to y. */
#include "engine/ops/long_convolution/long_convolution_line.cuh"

void long_convolution_line_forward(const Run *run, const Line &o) {
    run_line<false>(run, o);
}
