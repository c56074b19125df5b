#include "engine/cuda/burst.h"
#include "engine/cuda/product.h"

void product(const Run *run, const Product &x) {
    product_tiled(run, x);
}

/* There are no tensor cores to emulate. */
double matrix_rate(const Run *, Products) {
    return 0;
}
