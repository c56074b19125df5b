/* The rate of large matrix products by cuBLASLt: the roof of what tensor cores do. */
#include <cuda_bf16.h>

#include "engine/cuda/burst.h"
#include "engine/cuda/device_state.h"

/* Large enough that the rate no longer grows; 268 MB a matrix of floats. */
constexpr int64_t SIZE = 8192;

/* Numbers in [-1, 1) without order: products of zeros draw less power and so run faster. */
template <class T> KERNEL void fill(T *data, int64_t n) {
    const int64_t i = global_thread();
    if (i >= n) return;
    uint32_t x = (uint32_t)i * 2654435761u; /* the golden ratio: multiplicative hashing */
    x ^= x >> 15;
    data[i] = (T)((float)(x & 0xFFFF) / 32768.0f - 1.0f);
}

namespace {

struct Square {
    cublasLtMatmulDesc_t operation = NULL;
    cublasLtMatrixLayout_t in = NULL, out = NULL;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t chosen = {};
    void *a = NULL, *b = NULL, *c = NULL;
    Square() = default;
    Square(const Square &) = delete;
    Square &operator=(const Square &) = delete;
    ~Square() {
        if (operation) cublasLtMatmulDescDestroy(operation);
        if (in) cublasLtMatrixLayoutDestroy(in);
        if (out) cublasLtMatrixLayoutDestroy(out);
        if (preference) cublasLtMatmulPreferenceDestroy(preference);
        cudaFree(a);
        cudaFree(b);
        cudaFree(c);
    }
};

} // namespace

/* Multiplication of a transposed matrix with one that is not: both are read along k. */
static bool prepare(GpuState *state, Products products, Square *square) {
    const cudaDataType type = products == PRODUCTS_BF16 ? CUDA_R_16BF : CUDA_R_32F;
    const cublasComputeType_t compute =
        products == PRODUCTS_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const size_t workspace = GPU_WORKSPACE;
    int found = 0;
    return cublasLtMatmulDescCreate(&square->operation, compute, CUDA_R_32F) == 0 &&
           cublasLtMatmulDescSetAttribute(square->operation, CUBLASLT_MATMUL_DESC_TRANSA,
                                          &transposed, sizeof transposed) == 0 &&
           cublasLtMatrixLayoutCreate(&square->in, type, SIZE, SIZE, SIZE) == 0 &&
           cublasLtMatrixLayoutCreate(&square->out, CUDA_R_32F, SIZE, SIZE, SIZE) == 0 &&
           cublasLtMatmulPreferenceCreate(&square->preference) == 0 &&
           cublasLtMatmulPreferenceSetAttribute(square->preference,
                                                CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                &workspace, sizeof workspace) == 0 &&
           cublasLtMatmulAlgoGetHeuristic(state->products, square->operation, square->in,
                                          square->in, square->out, square->out, square->preference,
                                          1, &square->chosen, &found) == 0 &&
           found > 0;
}

template <class T> static bool allocate(const Run *run, Square *square) {
    const int64_t n = SIZE * SIZE;
    if (cudaMalloc(&square->a, (size_t)n * sizeof(T)) != cudaSuccess ||
        cudaMalloc(&square->b, (size_t)n * sizeof(T)) != cudaSuccess ||
        cudaMalloc(&square->c, (size_t)n * sizeof(float)) != cudaSuccess) {
        cudaGetLastError(); /* an allocation that fails leaves the device usable */
        return false;
    }
    LAUNCH(run, fill<T>, blocks_for(n, EACH_THREADS), EACH_THREADS, 0, static_cast<T *>(square->a),
           n);
    LAUNCH(run, fill<T>, blocks_for(n, EACH_THREADS), EACH_THREADS, 0, static_cast<T *>(square->b),
           n);
    return true;
}

double matrix_rate(const Run *run, Products products) {
    GpuState *state = static_cast<GpuState *>(state_of(run));
    Square square;
    const bool ready = products == PRODUCTS_BF16 ? allocate<__nv_bfloat16>(run, &square)
                                                 : allocate<float>(run, &square);
    if (!ready || !prepare(state, products, &square)) return 0;
    const float one = 1, zero = 0;
    const double rate = best_rate(run, [&](int64_t rounds) {
        for (int64_t r = 0; r < rounds; r++)
            if (cublasLtMatmul(state->products, square.operation, &one, square.a, square.in,
                               square.b, square.in, &zero, square.c, square.out, square.c,
                               square.out, &square.chosen.algo, state->workspace, GPU_WORKSPACE,
                               state->stream) != CUBLAS_STATUS_SUCCESS)
                return 0.0;
        return (double)rounds * 2 * (double)SIZE * SIZE * SIZE;
    });
    cudaStreamSynchronize(state->stream); /* before the operands go */
    return rate;
}
