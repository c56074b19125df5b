/* What the CUDA runtime, or its stand-in in the emulation, gives the library: the functions of the
 * table that touch memory and streams (engine/cuda/device_runtime.cu). */
#ifndef LONGHAUL_CUDA_BACKEND_H
#define LONGHAUL_CUDA_BACKEND_H

#include "engine/cuda/grid.cuh"

/* Fills in everything of CudaLibrary except find, prepare, update, flush and ceiling. */
extern const CudaLibrary backend;

/* The kernels behind AdamW: norm of all gradients, then the update (engine/cuda/adamw.cu). */
struct NormResult {
    double norm; /* of the last step */
    float scale; /* of the gradients, so that it is at most the clip; 1 where there is none */
    int broken;  /* whether that of any step was not finite */
};
void launch_norm(const Run *run, const AdamWFlat *flat, double clip);
void launch_update(const Run *run, const AdamWFlat *flat, const AdamWPart *parts, int count);
enum { NORM_BLOCKS = 1024 }; /* partial sums of the norm: as many as a block adds */

#endif
