/* Addition of two numbers of D digits: the digits of both, with nothing between, then those of the
 * sum, which has D + 1, the highest first: 1 3 5 6 8 3 gives 0 8 1 8. The model names the next
 * token at the last digit shown and at each digit of the sum but the last, so it sees the digits of
 * the sum before the one it names. A carry comes from digits that are named later.
 *
 * Source: Poli et al. 2023 (Hyena), arXiv 2302.10866, appendix C.1 and figure C.1 ("arithmetic" of
 * table 4.1): D-digit operands, D + 1 digits of the result, loss ignores the first 2 D - 1 targets.
 * The generator was never released; our own completion: both numbers are uniform on 0 .. 10^D - 1.
 * With few digits the training samples hold every pair of numbers (there are 10^(2 D)), and the
 * test asks no new one. Another problem than `adding` (two of many real numbers) and than
 * language=arithmetic of `formal` (expressions modulo 5). */
#include <math.h>
#include <stdlib.h>

#include "tasks/labels.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

typedef enum Right { RIGHT_DIGIT, RIGHT_SUM } Right;

enum { BASE = 10 };

typedef struct DigitAddition {
    int64_t digits;
    int right;
} DigitAddition;

static const Option options[] = {
    {"digits", OPTION_INTEGER, offsetof(DigitAddition, digits), "4", 1, 1 << 20, NULL,
     "of each of the two numbers; a sample has three times as many positions"},
    {"right", OPTION_CHOICE, offsetof(DigitAddition, right), "digit", 0, -1, "digit|sum",
     "what accuracy counts: digits of the sum, or sums with every digit right"},
};

/* Accuracy of the best guess from the digits of the sum alone, without the two numbers. Of all
 * pairs of numbers with sum s, there are s + 1 for s < B^D, and 2 B^D - 1 - s from there. So the
 * first digit, the carry, is 0 with probability (1 + B^-D) / 2. Whatever the digits before, the
 * likeliest next one is the one with the largest sums where the carry is 0, and with the smallest
 * where it is 1; summed over all sums that have it, place i (0 for units) has it with probability
 * 1 / B + (B - 1) B^(i - D - 1). The likeliest whole sum, B^D - 1, has B^D of the B^(2 D) pairs. */
static double chance_of(const DigitAddition *addition) {
    const double places = (double)addition->digits, rare = pow(BASE, -places);
    if (addition->right == RIGHT_SUM) return rare;
    const double carry = (1 + rare) / 2, others = (places + 1 - rare) / BASE;
    return (carry + others) / (places + 1);
}

static Status digit_addition_problem(const void *values, Problem *problem, Error *error) {
    (void)error;
    const DigitAddition *addition = values;
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = BASE,
        .length = 3 * addition->digits,
        .sequences = 1,
        .target = TARGET_TOKENS,
        .classes = BASE,
        .labels = addition->digits + 1,
        .averaging = addition->right == RIGHT_SUM ? AVERAGE_WHOLE : AVERAGE_SAMPLES,
        .causal = true,
        .chance = chance_of(addition),
        .solved = 0.99,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

extern const Task task_digit_addition;

static void digit_addition_sample(const void *values, const void *data, uint64_t seed, Split split,
                                  int64_t index, Sample *sample) {
    (void)data;
    const int64_t digits = ((const DigitAddition *)values)->digits;
    Random random = task_random(&task_digit_addition, seed, split, index);
    int32_t *stream = scratch_open((size_t)(3 * digits + 1) * sizeof *stream);
    const int32_t *first = stream, *second = stream + digits;
    int32_t *sum = stream + 2 * digits, carry = 0;
    for (int64_t t = 0; t < 2 * digits; t++) stream[t] = (int32_t)random_below(&random, BASE);
    for (int64_t place = digits; place > 0; place--) {
        const int32_t here = first[place - 1] + second[place - 1] + carry;
        sum[place] = here % BASE;
        carry = here / BASE;
    }
    sum[0] = carry;
    label_next(sample, stream, 3 * digits, digits + 1, digits + 1);
    free(stream);
}

const Task task_digit_addition = {
    .name = "digit_addition",
    .title = "Addition of numbers, digit by digit",
    .paper = "Poli et al. 2023 (Hyena), arXiv 2302.10866",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(DigitAddition)},
    .problem = digit_addition_problem,
    .count = count_endless,
    .sample = digit_addition_sample,
};
