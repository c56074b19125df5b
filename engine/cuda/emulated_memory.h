/* Device memory of the emulation: it can only be touched while a kernel or a copy runs, so that
 * host code which reads it by mistake fails in the tests as it would on a GPU. */
#ifndef LONGHAUL_CUDA_EMULATED_MEMORY_H
#define LONGHAUL_CUDA_EMULATED_MEMORY_H

#include <vector>

#include "engine/cuda/grid.cuh"

struct Mapping {
    void *start;
    size_t bytes;
};

struct EmulatedState : CudaState {
    std::vector<Mapping> mappings;
};

/* Opens all memory of the state for as long as it exists. */
class Opened {
  public:
    explicit Opened(CudaState *state);
    ~Opened();
    Opened(const Opened &) = delete;
    Opened &operator=(const Opened &) = delete;

  private:
    EmulatedState *state;
};

#endif
