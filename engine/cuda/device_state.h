/* What the library keeps while a GPU is open. */
#ifndef LONGHAUL_CUDA_DEVICE_STATE_H
#define LONGHAUL_CUDA_DEVICE_STATE_H

#include <array>
#include <map>

#include "engine/cuda/grid.cuh"

#ifdef LONGHAUL_EMULATED
#include "engine/cuda/emulated_cublas.h"
#else
#include <cublasLt.h>
#endif

/* 32 MiB is what cuBLASLt's fastest kernels want on the newest architecture. */
enum { GPU_WORKSPACE = 32 << 20 };

/* A product's descriptors and the algorithm chosen for its shape, made once. */
struct ProductPlan {
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
};
typedef std::array<int64_t, 7> ProductKey; /* flags and alignments, m, n, k, lda, ldb, ldc */

struct GpuState : CudaState {
    cudaStream_t stream = NULL;
    cudaDeviceProp properties = {};
    cublasLtHandle_t products = NULL;
    void *workspace = NULL;
    std::map<ProductKey, ProductPlan> algorithms;
    char failure[512] = "";
};

/* Keeps the first failure. */
void gpu_note(GpuState *state, const char *what, const char *kernel, const char *reason);

void gpu_forget_product(ProductPlan *plan);

#endif
