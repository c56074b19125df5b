/* What the program says of its CUDA half without a GPU. */
#ifndef LONGHAUL_DEVICE_CUDA_H
#define LONGHAUL_DEVICE_CUDA_H

#include "engine/device.h"

#define CUDA_LIBRARY_FILE "liblonghaul_cuda.so"
#define EMULATED_LIBRARY_FILE "liblonghaul_cuda_emulated.so"
#define RACES_LIBRARY_FILE "liblonghaul_cuda_races.so"

/* For --version: toolkit and machine codes of the CUDA half, or why there is none. */
void cuda_machine_code(char *text, size_t bytes);

#endif
