/* What memory a dense convolution needs on a CPU: from shapes alone. */
#ifndef LONGHAUL_DENSE_CONVOLUTION_PLAN_H
#define LONGHAUL_DENSE_CONVOLUTION_PLAN_H

#include "engine/fft.h"
#include "engine/ops/dense_convolution/dense_convolution.h"

/* Points whose matrices one thread holds side by side: as many as lie side by side in every buffer
 * (a leaf has at least four), so that a visit to a buffer brings whole lines. */
enum { DENSE_GROUP = 4 };

/* Points of the transform: the power of two from L on (engine/fft.h). */
static inline int64_t dense_points(int64_t L) {
    int64_t points = FFT_LEAST;
    while (points < L) points *= 2;
    return points;
}

/* Channels rounded up to whole vectors. */
static inline int64_t dense_padded(int64_t channels, int64_t lanes) {
    return (channels + lanes - 1) / lanes * lanes;
}

/* Floats of the spectra of `signals` times `channels` real signals, a buffer for every `lanes`
 * channels; one place between buffers, which otherwise would share the sets of the caches. */
static inline int64_t dense_buffer_floats(const Fft *fft, int64_t lanes) {
    return (fft->places + 1) * 2 * lanes;
}
static inline int64_t dense_spectra_floats(const Fft *fft, int64_t signals, int64_t channels,
                                           int64_t lanes) {
    return signals * (dense_padded(channels, lanes) / lanes) * dense_buffer_floats(fft, lanes);
}

/* Floats of a thread's matrices at DENSE_GROUP points: of x and y (B rows), of the filter and, for
 * backward, its transpose. */
static inline int64_t dense_panel_floats(int64_t B, int64_t I, int64_t O, int64_t lanes) {
    const int64_t in = dense_padded(I, lanes), out = dense_padded(O, lanes);
    return 2 * (DENSE_GROUP * (B * (in + out) + in * out) + in * out);
}

#endif
