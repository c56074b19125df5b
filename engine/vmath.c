#include "engine/vmath_cpu.h"

#include <assert.h>

extern const VectorMath vector_math_portable, vector_math_avx2, vector_math_avx512;

const VectorMath *vector_math(Isa isa) {
    static const VectorMath *const tables[ISA_COUNT] = {
        [ISA_PORTABLE] = &vector_math_portable,
        [ISA_AVX2] = &vector_math_avx2,
        [ISA_AVX512] = &vector_math_avx512,
    };
    assert(isa >= 0 && isa < ISA_COUNT);
    return tables[isa];
}
