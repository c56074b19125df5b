#include "models/model.h"

#include <string.h>

#include "models/backbone.h"

#define MODEL(name) extern const Model model_##name;
#include "models/models.def"
#undef MODEL

static const Model *const models[] = {
#define MODEL(name) &model_##name,
#include "models/models.def"
#undef MODEL
};

const Model *const *model_list(int *count) {
    *count = (int)(sizeof models / sizeof *models);
    return models;
}

const Model *model_find(const char *name) {
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (strcmp(models[i]->name, name) == 0) return models[i];
    return NULL;
}

Tensor *model_record(Tape *tape, const Model *model, const ModelContext *context, Tensor *x) {
    if (model->prologue) x = model->prologue(tape, context, x);
    x = backbone_embedding_dropout(tape, context->backbone, x);
    x = model->stack ? model->stack(tape, context, x) : backbone_blocks(tape, model, context, x);
    /* The last post-norm block has normalised its result already. */
    if (context->backbone->norm_place == PLACE_POST) return x;
    return backbone_norm(tape, context->backbone, "norm", x);
}
