/* Products by cuBLASLt. Its matrices lie by columns, ours by rows, so it is asked for
 * C^T = B^T A^T. Sums are kept in float32. Inputs are the rounded copies where there are some (on
 * an H200 780 TFLOP/s), otherwise float32 that the product itself rounds to Run.products (400). */
#include <cstdio>

#include "engine/cuda/device_state.h"
#include "engine/cuda/product.h"

/* An operand as the product reads it. */
struct Operand {
    const void *data;
    int64_t ld;
};
struct Operands {
    Operand a, b;
    cudaDataType_t type;
};
static Operands operands_of(const Product &p) {
    if (p.rounded_a.data && p.rounded_b.data)
        return {
            {p.rounded_a.data, p.rounded_a.ld}, {p.rounded_b.data, p.rounded_b.ld}, CUDA_R_16BF};
    return {{p.a, p.lda}, {p.b, p.ldb}, CUDA_R_32F};
}

static cublasComputeType_t compute_type(const Run *run, cudaDataType_t type) {
    if (type == CUDA_R_16BF) return CUBLAS_COMPUTE_32F;
    switch (run->products) {
    case PRODUCTS_TF32:
        return CUBLAS_COMPUTE_32F_FAST_TF32;
    case PRODUCTS_BF16:
        return CUBLAS_COMPUTE_32F_FAST_16BF;
    case PRODUCTS_FLOAT:
        break;
    }
    return CUBLAS_COMPUTE_32F;
}

/* Largest power of two up to 16 that divides an address in bytes: what algorithms ask for. */
static uint32_t alignment_of(const void *memory) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(memory);
    uint32_t alignment = 16;
    while (address % alignment) alignment /= 2;
    return alignment;
}

static cublasStatus_t choose(GpuState *state, ProductPlan *plan, const Product &p,
                             const Operands &in) {
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t result = {};
    int found = 0;
    const size_t workspace = GPU_WORKSPACE;
    const uint32_t b = alignment_of(in.b.data), a = alignment_of(in.a.data), c = alignment_of(p.c);
    cublasStatus_t status = cublasLtMatmulPreferenceCreate(&preference);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        const void *value;
        size_t bytes;
    } wishes[] = {{CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &b, sizeof b},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &a, sizeof a},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &c, sizeof c},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &c, sizeof c}};
    for (const auto &wish : wishes)
        cublasLtMatmulPreferenceSetAttribute(preference, wish.name, wish.value, wish.bytes);
    status = cublasLtMatmulAlgoGetHeuristic(state->products, plan->operation, plan->a, plan->b,
                                            plan->c, plan->c, preference, 1, &result, &found);
    cublasLtMatmulPreferenceDestroy(preference);
    if (status == CUBLAS_STATUS_SUCCESS && found == 0) status = CUBLAS_STATUS_NOT_SUPPORTED;
    plan->algorithm = result.algo;
    return status;
}

static cublasStatus_t make_plan(GpuState *state, const Run *run, const Product &p,
                                const Operands &in, ProductPlan *plan) {
    const cublasOperation_t by_a = p.transposed_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t by_b = p.transposed_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasStatus_t status =
        cublasLtMatmulDescCreate(&plan->operation, compute_type(run, in.type), CUDA_R_32F);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_TRANSA, &by_b,
                                   sizeof by_b);
    cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_TRANSB, &by_a,
                                   sizeof by_a);
    if (p.bias) {
        const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                       sizeof epilogue);
        cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p.bias,
                                       sizeof p.bias);
    }
    const auto layout = [](cublasLtMatrixLayout_t *to, cudaDataType_t type, int64_t rows,
                           int64_t columns, int64_t ld) {
        return cublasLtMatrixLayoutCreate(to, type, (uint64_t)rows, (uint64_t)columns, ld);
    };
    const int64_t b_rows = p.transposed_b ? p.k : p.n, a_rows = p.transposed_a ? p.m : p.k;
    status = layout(&plan->a, in.type, b_rows, p.n + p.k - b_rows, in.b.ld);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = layout(&plan->b, in.type, a_rows, p.m + p.k - a_rows, in.a.ld);
    if (status == CUBLAS_STATUS_SUCCESS) status = layout(&plan->c, CUDA_R_32F, p.n, p.m, p.ldc);
    return status == CUBLAS_STATUS_SUCCESS ? choose(state, plan, p, in) : status;
}

void gpu_forget_product(ProductPlan *plan) {
    if (plan->operation) cublasLtMatmulDescDestroy(plan->operation);
    if (plan->a) cublasLtMatrixLayoutDestroy(plan->a);
    if (plan->b) cublasLtMatrixLayoutDestroy(plan->b);
    if (plan->c) cublasLtMatrixLayoutDestroy(plan->c);
}

void product(const Run *run, const Product &p) {
    GpuState *state = static_cast<GpuState *>(state_of(run));
    const Operands in = operands_of(p);
    const int64_t flags = p.transposed_a | p.transposed_b << 1 | (p.bias != NULL) << 2 |
                          run->products << 3 | (in.type == CUDA_R_16BF) << 5 |
                          (int64_t)alignment_of(in.a.data) << 8 |
                          (int64_t)alignment_of(in.b.data) << 16 | (int64_t)alignment_of(p.c) << 24;
    const ProductKey key = {flags, p.m, p.n, p.k, in.a.ld, in.b.ld, p.ldc};
    auto place = state->algorithms.find(key);
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    if (place == state->algorithms.end()) {
        ProductPlan plan = {};
        status = make_plan(state, run, p, in, &plan);
        if (status == CUBLAS_STATUS_SUCCESS)
            place = state->algorithms.emplace(key, plan).first;
        else
            gpu_forget_product(&plan);
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
        ProductPlan *plan = &place->second;
        const float one = 1, beta = p.start ? 1.0f : 0.0f;
        if (p.bias)
            cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                           &p.bias, sizeof p.bias);
        status =
            cublasLtMatmul(state->products, plan->operation, &one, in.b.data, plan->a, in.a.data,
                           plan->b, &beta, p.start ? p.start : p.c, plan->c, p.c, plan->c,
                           &plan->algorithm, state->workspace, GPU_WORKSPACE, state->stream);
    }
    if (status == CUBLAS_STATUS_SUCCESS) return;
    char shape[96];
    std::snprintf(shape, sizeof shape, "(%lld, %lld, %lld)", (long long)p.m, (long long)p.n,
                  (long long)p.k);
    gpu_note(state, "cuBLASLt product", shape, cublasLtGetStatusString(status));
}
