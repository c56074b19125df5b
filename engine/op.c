#include "engine/op.h"

#include <string.h>

#define OP(name) extern const Op op_##name;
#include "engine/ops/ops.def"
#undef OP

static const Op *const ops[] = {
#define OP(name) &op_##name,
#include "engine/ops/ops.def"
#undef OP
};

const Op *const *op_list(int *count) {
    *count = (int)(sizeof ops / sizeof ops[0]);
    return ops;
}

Isa isa_best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd"))
        return ISA_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return ISA_AVX2;
#endif
    return ISA_PORTABLE;
}

const char *isa_name(Isa isa) {
    static const char *const names[ISA_COUNT] = {"portable", "avx2", "avx512"};
    return names[isa];
}

const char *products_name(Products products) {
    static const char *const names[PRODUCTS_COUNT] = {
        [PRODUCTS_FLOAT] = "float", [PRODUCTS_TF32] = "tf32", [PRODUCTS_BF16] = "bf16"};
    return names[products];
}
