/* The line from the gradient of y to those of the inputs. */
#include "engine/ops/long_convolution/long_convolution_line.cuh"

void long_convolution_line_backward(const Run *run, const Line &o) {
    run_line<true>(run, o);
}
