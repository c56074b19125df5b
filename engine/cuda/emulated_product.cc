#include "engine/cuda/product.h"

void product(const Run *run, const Product &x) {
    product_tiled(run, x);
}
