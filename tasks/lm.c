/* Language modelling: at every position of a window the next token.
 *
 * Corpora: tiny Shakespeare (Karpathy 2015), enwik8 and text8 (Mahoney; first 90 % train, 5 %
 * validate, 5 % test, which is the customary 90M / 5M / 5M), WikiText-2 and -103 (Merity et al.
 * 2016, arXiv 1609.07843), the Penn Treebank (Mikolov et al. 2010), PG-19 (Rae et al. 2019, arXiv
 * 1911.05507), any file or folder. Without any, the made-up language of lm_synthetic, whose entropy
 * is known. Units: tasks/unit.h.
 *
 * Training windows lie anywhere; validation and test windows cover the text once, in order: the
 * first one is scored whole, each later one scores its last `stride` tokens, so that a small stride
 * gives every token a long context (Baevski and Auli 2019, arXiv 1809.10853, section 4). The first
 * token of a text, or of a document where they are kept apart, is context only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/labels.h"
#include "tasks/sampling.h"
#include "tasks/token_cache.h"
#include "tasks/windows.h"

typedef struct Lm {
    int64_t length, evaluation_length, stride, vocabulary;
    int corpus, unit, documents, test;
    char data[OPTION_TEXT_BYTES], bpe[OPTION_TEXT_BYTES];
} Lm;

enum { CORPUS_AUTO, CORPUS_SYNTHETIC, CORPUS_FILE };
enum { DOCUMENTS_JOINED, DOCUMENTS_APART };
enum { TEST_OWN, TEST_VALIDATION };

static const Option options[] = {
    {"corpus", OPTION_CHOICE, offsetof(Lm, corpus), "auto", 0, -1,
     "auto|synthetic|file|enwik8|pg19|ptb|shakespeare|text8|wikitext-103|wikitext-2",
     "text to learn; auto: that of data=PATH, or, without one, lm_synthetic's language"},
    {"data", OPTION_TEXT, offsetof(Lm, data), "", 0, -1, NULL,
     "a text file or a folder of them, UTF-8; below the data folder unless it begins with /"},
    {"unit", OPTION_CHOICE, offsetof(Lm, unit), "byte", 0, -1, "byte|word|bpe",
     "tokens: bytes, words by WikiText's conventions, or byte pairs"},
    {"vocabulary", OPTION_INTEGER, offsetof(Lm, vocabulary), "0", 0, 1 << 24, NULL,
     "unit=word: ids, the commonest words; 0: the number published for the corpus"},
    {"bpe", OPTION_TEXT, offsetof(Lm, bpe), "", 0, -1, NULL,
     "unit=bpe: folder with vocab.json and merges.txt of GPT-2's format"},
    {"documents", OPTION_CHOICE, offsetof(Lm, documents), "joined", 0, -1, "joined|apart",
     "windows run across documents, or never do"},
    {"length", OPTION_INTEGER, offsetof(Lm, length), "512", 1, 1 << 24, NULL,
     "tokens of a training window"},
    {"evaluation_length", OPTION_INTEGER, offsetof(Lm, evaluation_length), "0", 0, 1 << 24, NULL,
     "tokens of a validation or test window; 0: length"},
    {"stride", OPTION_INTEGER, offsetof(Lm, stride), "0", 0, 1 << 24, NULL,
     "tokens by which validation and test windows advance; 0: a window"},
    {"test", OPTION_CHOICE, offsetof(Lm, test), "own", 0, -1, "own|validation",
     "test on the corpus's own test text, or on the second half of its validation text"},
};

static const Unit *const units[] = {&unit_byte, &unit_word, &unit_bpe};

/* By the choices of corpus. words: types of the training text with <eos> and <unk>, as published.
 */
static const struct {
    CorpusSource source;
    int64_t words;
} corpora[] = {
    [CORPUS_FILE + 1] = {{"enwik8", CORPUS_ONE_FILE, {"enwik8"}, false, false}, 0},
    {{"pg19", CORPUS_FOLDERS, {"train", "validation", "test"}, false, false}, 0},
    {{"penn-treebank",
      CORPUS_THREE_FILES,
      {"ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"},
      false,
      false},
     10000},
    {{"tiny-shakespeare", CORPUS_ONE_FILE, {"input.txt"}, false, false}, 0},
    {{"text8", CORPUS_ONE_FILE, {"text8"}, false, true}, 0},
    {{"wikitext-103",
      CORPUS_THREE_FILES,
      {"wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"},
      true,
      false},
     267735},
    {{"wikitext-2",
      CORPUS_THREE_FILES,
      {"wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"},
      true,
      false},
     33278},
};

static bool is_synthetic(const Lm *lm) {
    return lm->corpus == CORPUS_SYNTHETIC || (lm->corpus == CORPUS_AUTO && !lm->data[0]);
}

static int64_t evaluation_length(const Lm *lm) {
    return lm->evaluation_length > 0 ? lm->evaluation_length : lm->length;
}

static UnitSettings unit_settings(const Lm *lm) {
    return (UnitSettings){
        .vocabulary = lm->vocabulary > 0 ? lm->vocabulary : corpora[lm->corpus].words,
        .bpe = lm->bpe,
        .letters = corpora[lm->corpus].source.letters,
    };
}

/* ---- the made-up language, which is lm_synthetic with its own options ---- */

extern const Task task_lm, task_lm_synthetic;

static void *synthetic_options(const Lm *lm) {
    char text[32];
    void *own = scratch_open(task_lm_synthetic.options.bytes);
    option_defaults(&task_lm_synthetic.options, own);
    snprintf(text, sizeof text, "%lld", (long long)lm->length);
    option_set(&task_lm_synthetic.options, own, "length", text, NULL);
    return own;
}

static Status synthetic_problem(const Lm *lm, Problem *problem, Error *error) {
    if (lm->unit || lm->documents || lm->stride || lm->evaluation_length || lm->vocabulary ||
        lm->test || lm->data[0] || lm->bpe[0] || lm->length < 2)
        return error_set(error, STATUS_USAGE,
                         "task lm: without a corpus the text is a made-up language, which has only "
                         "the setting length (2 or more); choose corpus=NAME or data=PATH, or "
                         "task=lm_synthetic for more settings of that language");
    void *own = synthetic_options(lm);
    const Status status = task_lm_synthetic.problem(own, problem, error);
    free(own);
    return status;
}

/* ---- the problem ---- */

static Status check_settings(const Lm *lm, Error *error) {
    if ((lm->corpus == CORPUS_FILE && !lm->data[0]) || (lm->corpus > CORPUS_FILE && lm->data[0]))
        return error_set(error, STATUS_USAGE,
                         "task lm: corpus=file and data=PATH go together, and other corpora have "
                         "no path");
    if (lm->stride > evaluation_length(lm))
        return error_set(error, STATUS_USAGE,
                         "task lm: stride=%lld would skip tokens between windows of %lld; use "
                         "stride=%lld or less",
                         (long long)lm->stride, (long long)evaluation_length(lm),
                         (long long)evaluation_length(lm));
    const bool three = corpora[lm->corpus].source.form != CORPUS_ONE_FILE;
    if (lm->test == TEST_VALIDATION && !three)
        return error_set(error, STATUS_USAGE,
                         "task lm: test=validation is for corpora with a validation file of their "
                         "own; this one is cut in three anyway");
    if (lm->vocabulary == 1)
        return error_set(error, STATUS_USAGE,
                         "task lm: vocabulary=1 has no room for <eos> and <unk>; use 2 or more");
    return STATUS_OK;
}

static Status lm_problem(const void *values, Problem *problem, Error *error) {
    const Lm *lm = values;
    if (is_synthetic(lm)) return synthetic_problem(lm, problem, error);
    if (check_settings(lm, error) != STATUS_OK) return error->status;
    const UnitSettings settings = unit_settings(lm);
    int64_t ids;
    if (units[lm->unit]->size(&settings, &ids, error) != STATUS_OK) return error->status;
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = ids,
        .length = lm->length,
        .padded = lm->documents == DOCUMENTS_APART,
        .sequences = 1,
        .target = TARGET_TOKENS,
        .classes = ids,
        .labels = lm->length,
        .evaluation_length = lm->evaluation_length,
        .evaluation_labels = lm->evaluation_length,
        .causal = true,
        .chance = (double)ids,
        .solved = 1.0,
        .higher_is_better = false,
        .metric = "perplexity",
        .measure = MEASURE_PERPLEXITY,
    };
    return STATUS_OK;
}

/* ---- data ---- */

typedef struct LmData {
    void *synthetic, *synthetic_options; /* of lm_synthetic, or NULL */
    const Unit *unit;
    void *lexicon;
    Text texts[3]; /* of validation and test, to tell what a token covers */
    Tokens tokens[3];
    Windows windows[3];
    int64_t *frequencies; /* of each id in the training text */
} LmData;

static void lm_close(void *data) {
    LmData *d = data;
    if (d->synthetic) task_lm_synthetic.close(d->synthetic);
    free(d->synthetic_options);
    if (d->lexicon) d->unit->close(d->lexicon);
    for (int split = 0; split < 3; split++) {
        free(d->texts[split].bytes);
        free(d->texts[split].starts);
        tokens_free(&d->tokens[split]);
        windows_close(&d->windows[split]);
    }
    free(d->frequencies);
    free(d);
}

/* Joined documents have to fill a window; documents that are kept apart may be shorter. */
static Status check_splits(const Lm *lm, const LmData *d, const Corpus *corpus, Error *error) {
    int64_t least = INT64_MAX;
    for (int split = 0; split < 3; split++)
        if (d->tokens[split].count < least) least = d->tokens[split].count;
    for (int split = 0; split < 3; split++) {
        const int64_t length = split == SPLIT_TRAIN ? lm->length : evaluation_length(lm);
        const int64_t count = d->tokens[split].count;
        if (lm->documents == DOCUMENTS_APART ? windows_count(&d->windows[split]) > 0
                                             : count > length)
            continue;
        char shorter[64] = "";
        if (least > 1) snprintf(shorter, sizeof shorter, " or length=%lld", (long long)least - 1);
        return error_set(error, STATUS_DATA,
                         "%s: its %s split has %lld tokens (unit=%s), fewer than one window of "
                         "%lld and the token after it; use a longer text%s",
                         corpus->splits[split].where, split_name((Split)split), (long long)count,
                         d->unit->name, (long long)length, shorter);
    }
    return STATUS_OK;
}

static Status encode(const Lm *lm, LmData *d, Corpus *corpus, Error *error) {
    const UnitSettings settings = unit_settings(lm);
    for (int split = 0; split < 3; split++)
        if (corpus->splits[split].count >= UINT32_MAX)
            return error_set(error, STATUS_DATA, "%s: texts of 4 GiB and more are not supported",
                             corpus->splits[split].where);
    if (d->unit->open(&settings, &corpus->splits[SPLIT_TRAIN], &d->lexicon, error) != STATUS_OK)
        return error->status;
    for (int split = 0; split < 3; split++) {
        if (token_cache_encode(d->unit, &settings, d->lexicon, &corpus->splits[SPLIT_TRAIN],
                               &corpus->splits[split], &d->tokens[split], error) != STATUS_OK)
            return error->status;
    }
    for (int split = 0; split < 3; split++) {
        Text *text = &corpus->splits[split];
        const bool train = split == SPLIT_TRAIN;
        const int64_t length = train ? lm->length : evaluation_length(lm);
        const int64_t stride = train ? 0 : lm->stride > 0 ? lm->stride : length;
        windows_open(&d->windows[split], &d->tokens[split], lm->documents == DOCUMENTS_JOINED,
                     length, stride);
        if (train) continue;
        d->texts[split] = *text;
        text->bytes = NULL;
        text->starts = NULL;
    }
    return check_splits(lm, d, corpus, error);
}

static Status lm_open(const void *values, void **data, Error *error) {
    const Lm *lm = values;
    LmData *d = scratch_open(sizeof *d);
    Corpus corpus = {0};
    Status status;
    if (is_synthetic(lm)) {
        d->synthetic_options = synthetic_options(lm);
        status = task_lm_synthetic.open(d->synthetic_options, &d->synthetic, error);
    } else {
        d->unit = units[lm->unit];
        status = lm->data[0] ? corpus_read_path(lm->data, &corpus, error)
                             : corpus_read(&corpora[lm->corpus].source, lm->test == TEST_VALIDATION,
                                           &corpus, error);
        if (status == STATUS_OK) status = encode(lm, d, &corpus, error);
    }
    Problem problem;
    if (status == STATUS_OK && d->unit) status = lm_problem(values, &problem, error);
    if (status == STATUS_OK && d->unit) {
        d->frequencies = scratch_open((size_t)problem.classes * sizeof *d->frequencies);
        const Tokens *tokens = &d->tokens[SPLIT_TRAIN];
        for (int64_t t = 0; t < tokens->count; t++) d->frequencies[token_at(tokens, t)]++;
    }
    corpus_close(&corpus);
    if (status == STATUS_OK)
        *data = d;
    else
        lm_close(d);
    return status;
}

/* ---- samples ---- */

static int64_t lm_count(const void *values, const void *data, Split split) {
    (void)values;
    const LmData *d = data;
    return !d || d->synthetic || split == SPLIT_TRAIN ? 0 : windows_count(&d->windows[split]);
}

static void lm_sample(const void *values, const void *data, uint64_t seed, Split split,
                      int64_t index, Sample *sample) {
    const Lm *lm = values;
    const LmData *d = data;
    if (d->synthetic) {
        task_lm_synthetic.sample(d->synthetic_options, d->synthetic, seed, split, index, sample);
        return;
    }
    const Windows *windows = &d->windows[split];
    const Tokens *tokens = &d->tokens[split];
    const int64_t length = split == SPLIT_TRAIN ? lm->length : evaluation_length(lm);
    if (split == SPLIT_TRAIN) {
        Random random = task_random(&task_lm, seed, split, index);
        index = (int64_t)random_below(&random, (uint64_t)windows_count(windows));
    }
    const Window window = windows_at(windows, index);
    for (int64_t t = 0; t < length; t++)
        sample->tokens[t] = t < window.length ? token_at(tokens, window.start + t) : 0;
    for (int64_t i = 0; i < window.scored; i++) {
        const int64_t t = window.length - window.scored + i;
        label_set(sample, i, t, token_at(tokens, window.start + t + 1));
    }
    label_unused(sample, window.scored, length);
    sample->lengths[0] = (int32_t)window.length;
}

static bool is_space(uint8_t byte) {
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static Extent lm_extent(const void *values, const void *data, Split split, int64_t index) {
    (void)values;
    const LmData *d = data;
    Extent extent = {0};
    if (d->synthetic) return extent;
    const Window window = windows_at(&d->windows[split], index);
    const Tokens *tokens = &d->tokens[split];
    const Text *text = &d->texts[split];
    const int64_t last = window.start + window.length;
    const int64_t from = token_end(tokens, last - window.scored), to = token_end(tokens, last);
    extent.bytes = (double)(to - from);
    for (int64_t at = from; at < to; at++) {
        extent.lines += text->bytes[at] == '\n';
        extent.words += !is_space(text->bytes[at]) && (at == 0 || is_space(text->bytes[at - 1]));
    }
    return extent;
}

static int64_t lm_frequency(const void *values, const void *data, int64_t class_id) {
    (void)values;
    const LmData *d = data;
    return d->frequencies ? d->frequencies[class_id] : -1;
}

static void lm_spell(const void *values, const void *data, int64_t id,
                     char text[TASK_SPELL_BYTES]) {
    (void)values;
    const LmData *d = data;
    if (d->synthetic)
        task_lm_synthetic.spell(d->synthetic_options, d->synthetic, id, text);
    else
        d->unit->spell(d->lexicon, id, text);
}

const Task task_lm = {
    .name = "lm",
    .title = "Language modelling on bytes, words or byte pairs",
    .paper = "WikiText (arXiv 1609.07843), Penn Treebank, PG-19 (arXiv 1911.05507), enwik8, text8, "
             "tiny Shakespeare, or any text",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(Lm)},
    .problem = lm_problem,
    .open = lm_open,
    .close = lm_close,
    .count = lm_count,
    .sample = lm_sample,
    .spell = lm_spell,
    .extent = lm_extent,
    .frequency = lm_frequency,
};
