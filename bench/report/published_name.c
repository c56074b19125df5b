/* Names of tasks and architectures: from the sources' words to ours. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "bench/report/published.h"
#include "models/model.h"

/* Tasks, both sides without case and signs. */
static const struct {
    const char *theirs, *ours;
} tasks[] = {
    {"selectivecopying", "selectivecopy"},
    {"inductionhead", "induction"},
    {"inductionheads", "induction"},
    {"associativerecall", "recall"},
    {"mirroredcopy", "copy"},
    {"nearestneighboursearch", "nns"},
    {"reversestring", "reverse"},
    {"stackmanipulation", "stack"},
    {"lralistops", "listops"},
    {"lratext", "text"},
    {"lraretrieval", "retrieval"},
    {"lraimage", "image"},
    {"lragimage", "image"},
    {"lrargbimage", "rgbimage"},
    {"lrapathfinder", "pathfinder"},
    {"lrapathx", "pathx"},
};

/* Architectures under a name that is more than another spelling of ours. Each line was judged by
 * itself: what stands in brackets may tell how a number came about ("re-run by") or make it another
 * model ("LSTM (Block)", "DSS (as printed)"), and those are not here. needs: the settings that make
 * our architecture the variant; words in brackets are never met. */
static const struct {
    const char *theirs, *ours, *needs;
} models[] = {
    {"Attention", "transformer", ""},
    {"Full attention", "transformer", ""},
    {"FlashTransformer", "transformer", ""}, /* exact attention, computed in tiles */
    {"Transformer (LRA paper)", "transformer", ""},
    {"Transformer (re-run by Mega authors)", "transformer", ""},
    {"Llama", "transformer", "positions=rotary"},
    {"MHA-RoPE", "transformer", "positions=rotary"},
    {"MHA-Abs", "transformer", "positions=learned"},
    {"BaseConv", "based", "order=base_conv"},
    {"Sliding window attention", "based", "order=window"}, /* behind a convolution */
    {"Transformer-XL (best)", "transformer_xl", ""},
    {"Linear Transformer", "linear_attention", ""},
    {"Perceiver AR", "perceiver", ""},
    {"Retention", "retnet", ""},
    {"RWKV", "rwkv4", ""}, /* later versions are always written with their number */
    {"RWKV-4(reg)", "rwkv4", ""},
    {"xLSTM", "xlstm", "[a:b]"}, /* a ratio of blocks, not stated */
    {"no gate (S4) + S4", "s4", ""},
    {"S4 (v4 configs, approximate)", "s4", "init=legs"},
    {"S4-LegS", "s4", "init=legs"},
    {"S4-v2 (=S4-LegS of HTTYH)", "s4", "init=legs"},
    {"S4-v2 (re-run by Mega authors)", "s4", "init=legs"},
    {"S4D-LegS", "s4d", "init=legs"},
    {"S4D-Lin", "s4d", "init=lin"},
    {"S4D-Inv", "s4d", "init=inv"},
    {"DSS (best-val checkpoint)", "dss", "kernel=softmax"}, /* the repository's default */
    {"DSS-SOFTMAX", "dss", "kernel=softmax"},
    {"DSS-EXP", "dss", "kernel=exp"},
    {"Mega softmax attention", "mega", "attention=softmax"},
    {"Mega laplace attention", "mega", "attention=laplace"},
    {"Mega relu^2 attention", "mega", "attention=relu2"},
    {"Hyena", "hyena", "filter=network filter_window=yes"},
    {"Hyena (CKConv filter)", "hyena", "filter=network filter_window=no"},
    {"Hyena (Conv1d filter)", "hyena", "filter=taps"},
    {"Hyena (FNO filter)", "hyena", "filter=modes"},
    {"Hyena (S4 filter of H3)", "hyena", "filter=state_space"},
    {"Hyena (transfer function filter)", "hyena", "filter=transfer"},
    {"H3 + S4", "h3", ""},
    {"H3 block + Hyena", "hyena", "filter=network filter_window=yes"},
    {"Mamba", "mamba", "block=mamba layer=s6"},
    {"Mamba + S6", "mamba", "block=mamba layer=s6"},
    {"Mamba block + S4", "mamba", "block=mamba layer=s4d"},
    {"Mamba block + Hyena", "mamba", "block=mamba layer=hyena"},
    {"H3 block + S6", "mamba", "block=h3 layer=s6"},
    {"no gate + S6", "mamba", "block=none layer=s6"},
};

/* Settings of ours whose value stands in square brackets behind the name: xLSTM[1:0]. */
static const struct { const char *model, *key; } bracketed[] = {{"xlstm", "blocks"}};

static void spell(const char *theirs, char plain[48]) {
    size_t length = 0;
    for (; *theirs && length < 47; theirs++)
        if (isalnum((unsigned char)*theirs)) plain[length++] = (char)tolower(*theirs);
    plain[length] = 0;
}

static bool same_spelling(const char *a, const char *b) {
    char x[48], y[48];
    spell(a, x);
    spell(b, y);
    return !strcmp(x, y);
}

void published_name(const char *theirs, char ours[48]) {
    spell(theirs, ours);
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
        if (!strcmp(ours, tasks[i].theirs)) snprintf(ours, 48, "%s", tasks[i].ours);
}

/* A name without brackets at its end. */
static void name_model(const char *theirs, char ours[48], char needs[PUBLISHED_NEEDS]) {
    spell(theirs, ours);
    needs[0] = '\0';
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (!same_spelling(theirs, models[i].theirs)) continue;
        snprintf(ours, 48, "%s", models[i].ours);
        snprintf(needs, PUBLISHED_NEEDS, "%s", models[i].needs);
        return;
    }
    int count;
    const Model *const *list = model_list(&count);
    for (int i = 0; i < count; i++)
        if (same_spelling(theirs, list[i]->name)) snprintf(ours, 48, "%s", list[i]->name);
}

void published_model(const char *theirs, char ours[48], char needs[PUBLISHED_NEEDS]) {
    char name[64];
    snprintf(name, sizeof name, "%s", theirs);
    char *bracket = strchr(name, '['), *end = strchr(name, ']');
    if (!bracket || end < bracket || end[1]) {
        name_model(name, ours, needs);
        return;
    }
    *bracket = *end = '\0';
    name_model(name, ours, needs);
    snprintf(needs, PUBLISHED_NEEDS, "[%s]", bracket + 1);
    for (size_t i = 0; i < sizeof bracketed / sizeof *bracketed; i++)
        if (!strcmp(ours, bracketed[i].model))
            snprintf(needs, PUBLISHED_NEEDS, "%s=%s", bracketed[i].key, bracket + 1);
}
