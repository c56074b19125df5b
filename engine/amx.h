/* Instructions on tile registers (AMX): 16 rows of 64 bytes each. Written out, because files that
 * use them are compiled for processors without; ask matrix_tiles_granted() first. */
#ifndef LONGHAUL_AMX_H
#define LONGHAUL_AMX_H

#include <stdint.h>

#include "engine/matrix_tiles.h"

enum { AMX_ROWS = 16, AMX_ROW_BYTES = 64 };

/* The layout that tile instructions read: all eight tiles full. Per thread, until amx_close. */
static inline void amx_open(void) {
    uint8_t layout[64] __attribute__((aligned(64))) = {1};
    for (int tile = 0; tile < 8; tile++) {
        layout[16 + 2 * tile] = AMX_ROW_BYTES;
        layout[48 + tile] = AMX_ROWS;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(layout));
}

/* Tiles in use would be saved at every change of context. */
static inline void amx_close(void) {
    __asm__ volatile("tilerelease");
}

/* sum += a b, see gemm_amx.h for the order; pitch: bytes from row to row. */
#define AMX_LOAD(tile, from, pitch)                                                                \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"(pitch) : "memory")
#define AMX_STORE(tile, to, pitch)                                                                 \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"(pitch) : "memory")
#define AMX_ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile ::)
#define AMX_MULTIPLY(sum, a, b)                                                                    \
    __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #sum ::)

#endif
