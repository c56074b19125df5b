#include "engine/adamw.h"

#include <assert.h>

extern const AdamWKernels adamw_portable, adamw_avx2, adamw_avx512;

static const AdamWKernels *const kernels[ISA_COUNT] = {
    [ISA_PORTABLE] = &adamw_portable, [ISA_AVX2] = &adamw_avx2, [ISA_AVX512] = &adamw_avx512};

void adamw_update(Isa isa, const AdamW *settings, AdamWRange range, int threads) {
    assert(settings->step >= 1 && "the bias correction counts steps from 1");
    kernels[isa]->update(settings, range, threads);
}

double sum_of_squares(Isa isa, const float *data, int64_t n, int threads) {
    return kernels[isa]->sum_of_squares(data, n, threads);
}
