#include "engine/matrix_tiles.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Written before main and never again, like the C library's own list of what the processor has:
 * the question is a system call, too slow for every product. */
static bool granted;

__attribute__((constructor)) static void ask(void) {
    enum { LEAF_FEATURES = 7, BF16_TILES = 1 << 22, TILES = 1 << 24 };
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 }; /* Linux 5.16 */
    unsigned a, b, c, d = 0;
    if (!__get_cpuid_count(LEAF_FEATURES, 0, &a, &b, &c, &d)) return;
    if (!(d & BF16_TILES) || !(d & TILES)) return;
    granted = syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

bool matrix_tiles_granted(void) {
    return granted;
}
#else
bool matrix_tiles_granted(void) {
    return false;
}
#endif
