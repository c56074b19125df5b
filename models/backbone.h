/* The stack that mixers share: pre-norm (or post-norm) residual blocks of a sequence mixer and an
 * optional MLP. Parameter names: layers.I.norm1, layers.I.mixer, layers.I.norm2, layers.I.mlp. */
#ifndef LONGHAUL_MODELS_BACKBONE_H
#define LONGHAUL_MODELS_BACKBONE_H

#include "models/model.h"

/* All blocks of a model with a mixer: (B, L, D) -> (B, L, D), without the final norm. */
Tensor *backbone_blocks(Tape *tape, const Model *model, const ModelContext *context, Tensor *x);

/* The norm that the options choose, with parameters SCOPE.name.gamma (and beta for layer norm). By
 * scale (Nguyen and Salazar 2019, arXiv 1910.05895, section 2.2, times sqrt(D), so that the gain
 * begins at 1; Mega's released code): rms norm with one number SCOPE.name.gain. By
 * batch: over all positions, padding included, as S4's and Mega's released code does; beta, and the
 * running averages mean and variance, which tapes that do not train read. */
Tensor *backbone_norm(Tape *tape, const Backbone *backbone, const char *name, Tensor *x);

/* o (B, L, H m) -> the same, the RMS norm of every head with gains that the heads share:
 * SCOPE.head_norm.gamma (m). */
Tensor *backbone_head_norm(Tape *tape, int64_t heads, Tensor *o);

/* The options' dropout in training, x itself otherwise: of a branch, and of what enters the first
 * block. */
Tensor *backbone_dropout(Tape *tape, const Backbone *backbone, Tensor *x);
/* The same with a probability of a model's own, where 0 drops nothing. x (B, L, D). */
Tensor *backbone_drop(Tape *tape, const Backbone *backbone, Tensor *x, double probability);
Tensor *backbone_embedding_dropout(Tape *tape, const Backbone *backbone, Tensor *x);

/* x plus a table of where tokens stand, for prologues: SCOPE.positions, learned (longest length,
 * D), or the sinusoids of Vaswani et al. 2017. */
Tensor *backbone_positions(Tape *tape, const ModelContext *context, bool learned, Tensor *x);

/* Start of a projection into the residual stream: N(0, 0.02 / sqrt(2 layers)), so that the sum over
 * all branches keeps its variance (Radford et al. 2019, section 2.3); of any other: N(0, 0.02).
 * Both with the option init_deviation in the place of 0.02. */
Init backbone_residual_init(const Backbone *backbone);
Init backbone_init(const Backbone *backbone);

/* x W + b with parameters SCOPE.name.weight (in, out) and, if wanted, SCOPE.name.bias. residual is
 * added when it is not NULL. */
Tensor *backbone_linear(Tape *tape, const char *name, Tensor *x, int64_t out, bool bias, Init init,
                        Tensor *residual);

/* STATUS_USAGE when the heads do not divide the width into heads of at most `widest` channels. */
Status backbone_check_heads(const Backbone *backbone, int64_t heads, int64_t widest, Error *error);

#endif
