/* See emulated_cublas.h. What does not fit together is refused with the status that cuBLASLt has
 * for it: dimensions, leading dimensions, addresses less aligned than was promised. */
#include "engine/cuda/emulated_cublas.h"

#include <vector>

#include "engine/cuda/rounded.cuh"

struct EmulatedBlas {};
struct EmulatedProduct {
    cublasComputeType_t compute;
    cublasOperation_t transposed[2] = {CUBLAS_OP_N, CUBLAS_OP_N};
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const float *bias = nullptr;
};
struct EmulatedLayout {
    cudaDataType_t type;
    int64_t rows, columns, ld;
};
struct EmulatedWishes {
    uint32_t alignment[4] = {256, 256, 256, 256}; /* cuBLASLt's own expectation */
};

namespace {

/* Bits of a float32's mantissa that the two formats do not have. */
enum { BF16_DROPS = 16, TF32_DROPS = 13 };

cublasStatus_t status_of(cudaError_t error) {
    return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

float as_multiplied(float x, cublasComputeType_t compute) {
    if (compute == CUBLAS_COMPUTE_32F) return x;
    const int dropped = compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? TF32_DROPS : BF16_DROPS;
    return float_of_bits(rounded_bits(x, dropped));
}

int64_t rows_of(const EmulatedLayout &layout, cublasOperation_t operation) {
    return operation == CUBLAS_OP_T ? layout.columns : layout.rows;
}
int64_t columns_of(const EmulatedLayout &layout, cublasOperation_t operation) {
    return operation == CUBLAS_OP_T ? layout.rows : layout.columns;
}

/* The matrix that the sums are made of, by columns without gaps. */
std::vector<float> operand(const void *data, const EmulatedLayout &layout,
                           const EmulatedProduct &product, cublasOperation_t operation) {
    const int64_t rows = rows_of(layout, operation), columns = columns_of(layout, operation);
    std::vector<float> matrix(static_cast<size_t>(rows * columns));
    for (int64_t column = 0; column < columns; column++)
        for (int64_t row = 0; row < rows; row++) {
            const int64_t at =
                operation == CUBLAS_OP_T ? column + row * layout.ld : row + column * layout.ld;
            matrix[static_cast<size_t>(row + column * rows)] =
                layout.type == CUDA_R_16BF
                    ? float_of(static_cast<const bfloat *>(data)[at])
                    : as_multiplied(static_cast<const float *>(data)[at], product.compute);
        }
    return matrix;
}

/* Bytes from the first number to the last. */
size_t extent(const EmulatedLayout &layout) {
    const size_t size = layout.type == CUDA_R_16BF ? sizeof(bfloat) : sizeof(float);
    return static_cast<size_t>((layout.columns - 1) * layout.ld + layout.rows) * size;
}

bool consistent(const EmulatedLayout &layout) {
    return layout.rows > 0 && layout.columns > 0 && layout.ld >= layout.rows;
}

bool fit(const EmulatedProduct &product, const EmulatedLayout &a, const EmulatedLayout &b,
         const EmulatedLayout &c, const EmulatedLayout &d) {
    const cublasOperation_t by_a = product.transposed[0], by_b = product.transposed[1];
    const bool same = a.type == b.type && c.type == CUDA_R_32F && d.type == CUDA_R_32F;
    return same && consistent(a) && consistent(b) && consistent(c) && consistent(d) &&
           rows_of(a, by_a) == d.rows && columns_of(b, by_b) == d.columns &&
           columns_of(a, by_a) == rows_of(b, by_b) && c.rows == d.rows && c.columns == d.columns;
}

} // namespace

const char *cublasLtGetStatusString(cublasStatus_t status) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = new EmulatedBlas();
    return status_of(emulation::called("cublasLtCreate"));
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *product, cublasComputeType_t compute,
                                        cudaDataType_t) {
    *product = new EmulatedProduct{.compute = compute};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t name,
                                              const void *value, size_t bytes) {
    const auto take = [&](void *to, size_t size) {
        if (bytes != size) return CUBLAS_STATUS_INVALID_VALUE;
        std::memcpy(to, value, size);
        return CUBLAS_STATUS_SUCCESS;
    };
    switch (name) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return take(&product->transposed[0], sizeof product->transposed[0]);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return take(&product->transposed[1], sizeof product->transposed[1]);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return take(&product->epilogue, sizeof product->epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return take(&product->bias, sizeof product->bias);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product) {
    delete product;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t ld) {
    *layout =
        new EmulatedLayout{type, static_cast<int64_t>(rows), static_cast<int64_t>(columns), ld};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    *preference = new EmulatedWishes();
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t name,
                                                    const void *value, size_t) {
    if (name >= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES)
        std::memcpy(&preference->alignment[name - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES],
                    value, sizeof preference->alignment[0]);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int,
                                              cublasLtMatmulHeuristicResult_t *results,
                                              int *found) {
    *found = 0;
    if (!fit(*product, *a, *b, *c, *d)) return CUBLAS_STATUS_INVALID_VALUE;
    std::copy_n(preference->alignment, 4, results->algo.alignment);
    *found = 1;
    return status_of(emulation::called("cublasLtMatmulAlgoGetHeuristic"));
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t product, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t *algorithm, void *, size_t,
                              cudaStream_t stream) {
    const EmulatedProduct own = *product;
    const EmulatedLayout of_a = *a_layout, of_b = *b_layout, of_c = *c_layout, of_d = *d_layout;
    const float keep = *static_cast<const float *>(beta),
                factor = *static_cast<const float *>(alpha);
    if (!fit(own, of_a, of_b, of_c, of_d)) return CUBLAS_STATUS_INVALID_VALUE;
    const struct {
        const void *data;
        const EmulatedLayout &layout;
    } all[4] = {{a, of_a}, {b, of_b}, {c, of_c}, {d, of_d}};
    for (int i = 0; i < 4; i++)
        if (reinterpret_cast<uintptr_t>(all[i].data) % algorithm->alignment[i] ||
            !emulation::on_device(all[i].data, extent(all[i].layout)))
            return CUBLAS_STATUS_INVALID_VALUE;
    const auto multiply = [=] {
        const std::vector<float> left = operand(a, of_a, own, own.transposed[0]);
        const std::vector<float> right = operand(b, of_b, own, own.transposed[1]);
        const int64_t rows = of_d.rows, depth = static_cast<int64_t>(left.size()) / rows;
        std::vector<float> sums(static_cast<size_t>(rows));
        for (int64_t column = 0; column < of_d.columns; column++) {
            std::fill(sums.begin(), sums.end(), 0.0f);
            for (int64_t p = 0; p < depth; p++) {
                const float y = right[static_cast<size_t>(p + column * depth)];
                const float *const x = left.data() + p * rows;
                for (int64_t row = 0; row < rows; row++)
                    sums[static_cast<size_t>(row)] += x[row] * y;
            }
            for (int64_t row = 0; row < rows; row++) {
                float value = factor * sums[static_cast<size_t>(row)];
                if (own.epilogue == CUBLASLT_EPILOGUE_BIAS) value += own.bias[row];
                if (keep != 0)
                    value += keep * static_cast<const float *>(c)[row + column * of_c.ld];
                static_cast<float *>(d)[row + column * of_d.ld] = value;
            }
        }
    };
    return status_of(emulation::enqueue_work(stream, "product", multiply));
}
