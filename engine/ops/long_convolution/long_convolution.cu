/* Long convolution on a GPU by Fourier transforms of our own, without padding
 * (long_convolution.cuh).
 *
 * Up to FFT_MOST tokens a block holds some channels' whole sequences: read with gate, transform,
 * product, inverse, gate, write, in one kernel (long_convolution_block.cu). Beyond, N = P1 P2:
 * transforms over the P1 points that lie P2 tokens apart, then over P2 with the product and back,
 * then over P1 back, in one launch whose blocks hand on through scratch that stays in the
 * second-level cache (long_convolution_line.cuh).
 *
 * A token and channel costs 10 log2(N) additions and multiplications (100 at 1024 tokens, 2 ps at
 * the peak of an H100) and 32 bytes of shared memory's traffic (1.2 ps) beside its 8 to 20 bytes of
 * device memory's (1.9 to 4.6 ps); long sequences 24 to 48 bytes of the cache's besides.
 *
 * In Hopper's machine code convolve takes 70 FP32 instructions a token and channel at 1024 tokens,
 * 54 of them in radix passes, where 50 are the least, and about 100 of all kinds; shared memory is
 * used without bank conflicts. All of them are a third of the time measured before loads were moved
 * ahead, device memory half of it: the rest was waiting. So what counts is how many loads wait one
 * after the other. */
#include "engine/ops/long_convolution/long_convolution.cuh"

static LongConvolution convolution_of(const OpCall *call) {
    LongConvolution x = {};
    x.B = extent(call->in[LONG_CONVOLUTION_U], 0);
    x.L = extent(call->in[LONG_CONVOLUTION_U], 1);
    x.D = extent(call->in[LONG_CONVOLUTION_U], 2);
    x.K = extent(call->in[LONG_CONVOLUTION_FILTER], 0);
    for (x.points = FFT_LEAST; x.points < x.L;) x.points *= 2;
    x.u = data_of(call, LONG_CONVOLUTION_U);
    x.filter = data_of(call, LONG_CONVOLUTION_FILTER);
    x.reverse = data_of(call, LONG_CONVOLUTION_REVERSE);
    x.skip = data_of(call, LONG_CONVOLUTION_SKIP);
    x.pre = data_of(call, LONG_CONVOLUTION_PRE);
    x.post = data_of(call, LONG_CONVOLUTION_POST);
    x.y = call->out[0]->data;
    x.sum = call->saves ? call->saved[0]->data : NULL;
    return x;
}

static void add_gradients(LongConvolution *x, const OpCall *call) {
    x->dy = call->out[0]->gradient;
    x->du = gradient_of(call, LONG_CONVOLUTION_U);
    x->dpre = gradient_of(call, LONG_CONVOLUTION_PRE);
    x->dpost = gradient_of(call, LONG_CONVOLUTION_POST);
    x->dskip = gradient_of(call, LONG_CONVOLUTION_SKIP);
    x->dfilter = gradient_of(call, LONG_CONVOLUTION_FILTER);
    x->dreverse = gradient_of(call, LONG_CONVOLUTION_REVERSE);
    x->add_u = call->accumulate[LONG_CONVOLUTION_U];
    x->add_pre = call->accumulate[LONG_CONVOLUTION_PRE];
    x->add_post = call->accumulate[LONG_CONVOLUTION_POST];
    x->add_skip = call->accumulate[LONG_CONVOLUTION_SKIP];
    x->add_filter = call->accumulate[LONG_CONVOLUTION_FILTER];
    x->add_reverse = call->accumulate[LONG_CONVOLUTION_REVERSE];
}

static void convolve(const Run *run, const LongConvolution &x, Phase phase, void *scratch) {
    if (x.points > FFT_MOST)
        long_convolution_line(run, x, phase, scratch);
    else
        long_convolution_block(run, x, phase, scratch);
}

static void forward(const OpCall *call, const Run *run) {
    convolve(run, convolution_of(call), PHASE_FORWARD, call->scratch);
}

static void backward(const OpCall *call, const Run *run) {
    LongConvolution x = convolution_of(call);
    add_gradients(&x, call);
    convolve(run, x, PHASE_BACKWARD, call->scratch);
}

static size_t scratch(const OpCall *call, Phase phase) {
    const LongConvolution x = convolution_of(call);
    return x.points > FFT_MOST ? long_convolution_line_scratch(x, phase)
                               : long_convolution_block_scratch(x, phase);
}

CUDA_OP(long_convolution, {forward, backward}, scratch);
