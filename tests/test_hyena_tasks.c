/* Majority, counting, addition of digits and linear functions: each answer again from the sample
 * alone, by other means than the generator's; the laws they promise; what guessing is worth. */
#include "tests/task_case.h"

#include <math.h>

enum { SHOWN_MOST = 512, KINDS_MOST = 512 };

/* How often each ordinary token comes, counted token by token; returns how many tokens have the
 * largest count, which goes to *largest, one of them to *token. */
static int recount(const TaskCase *c, int64_t *largest, int32_t *token) {
    const int64_t shown = c->problem.length - 1;
    const int32_t kinds = (int32_t)c->problem.vocabulary - 2;
    int with_largest = 0;
    *largest = 0;
    for (int32_t kind = 1; kind <= kinds; kind++) {
        int64_t count = 0;
        for (int64_t t = 0; t < shown; t++) count += c->sample.tokens[t] == kind;
        if (count < *largest) continue;
        if (count > *largest) with_largest = 0;
        with_largest++;
        *largest = count;
        *token = kind;
    }
    return with_largest;
}

static const char *const counted[] = {"", "length=3 vocabulary=6", "length=34 vocabulary=12",
                                      "length=200 vocabulary=400", "length=500 vocabulary=4"};
enum { COUNTED = sizeof counted / sizeof *counted };

static void the_question_mark_asks_for_the_mode(void **state) {
    (void)state;
    static const char *const names[] = {"majority", "counting"};
    for (int n = 0; n < 2; n++)
        for (int k = 0; k < COUNTED; k++) {
            TaskCase c;
            case_open(&c, names[n], counted[k]);
            const int64_t shown = c.problem.length - 1;
            const int32_t mark = (int32_t)c.problem.vocabulary - 1;
            assert_int_equal(c.problem.labels, 1);
            int ties = 0;
            for (int64_t index = 0; index < 300; index++) {
                case_draw(&c, 5, SPLIT_TEST, index);
                for (int64_t t = 0; t < shown; t++)
                    assert_in_range(c.sample.tokens[t], 1, mark - 1);
                assert_int_equal(c.sample.tokens[shown], mark);
                assert_int_equal(c.sample.positions[0], shown);
                int64_t largest;
                int32_t token;
                ties += recount(&c, &largest, &token) > 1;
                assert_int_equal(c.sample.classes[0], n == 0 ? token : largest);
            }
            /* with 2 kinds and 499 tokens there is no tie, with the others often */
            assert_true(n == 0 || k == 4 ? ties == 0 : ties > 0);
            case_close(&c);
        }
}

/* Each token is the answer equally often and each place has each token equally often: what is not
 * so changes the chance level. Redrawn ties keep both, as no token is special. */
static void majority_prefers_no_token(void **state) {
    (void)state;
    enum { SAMPLES = 60000, KINDS = 5, SHOWN = 7 };
    TaskCase c;
    case_open(&c, "majority", "length=8 vocabulary=7");
    double answers[KINDS] = {0}, places[SHOWN][KINDS] = {{0}};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        answers[c.sample.classes[0] - 1]++;
        for (int t = 0; t < SHOWN; t++) places[t][c.sample.tokens[t] - 1]++;
    }
    /* 40 binomial counts, 6 standard deviations: wrong failures below 1e-6 */
    const double most = 6 * sqrt(SAMPLES * 0.2 * 0.8);
    for (int kind = 0; kind < KINDS; kind++) {
        assert_true(fabs(answers[kind] - SAMPLES * c.problem.chance) < most);
        for (int t = 0; t < SHOWN; t++) assert_true(fabs(places[t][kind] - SAMPLES / 5.0) < most);
    }
    case_close(&c);
}

/* The share of samples with the commonest count, and, where all V^N samples can be listed, that
 * share exactly. */
static double listed_likeliest(int shown, int kinds) {
    double with[SHOWN_MOST] = {0}, samples = pow(kinds, shown), likeliest = 0;
    for (int64_t code = 0; code < (int64_t)samples; code++) {
        int counts[KINDS_MOST] = {0}, largest = 0;
        int64_t rest = code;
        for (int t = 0; t < shown; t++, rest /= kinds) {
            const int count = ++counts[rest % kinds];
            if (count > largest) largest = count;
        }
        with[largest]++;
    }
    for (int c = 0; c <= shown; c++) likeliest = fmax(likeliest, with[c]);
    return likeliest / samples;
}

static void counting_knows_its_likeliest_count(void **state) {
    (void)state;
    static const int sizes[][2] = {{2, 2}, {3, 8}, {3, 2}, {4, 2}, {7, 5}, {9, 4}, {16, 2}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        char settings[64];
        snprintf(settings, sizeof settings, "length=%d vocabulary=%d", sizes[k][0] + 1,
                 sizes[k][1] + 2);
        TaskCase c;
        case_open(&c, "counting", settings);
        assert_int_equal(c.problem.classes, sizes[k][0] + 1);
        /* rounding of some hundred points, each a power of at most 8 */
        assert_true(fabs(c.problem.chance - listed_likeliest(sizes[k][0], sizes[k][1])) < 1e-12);
        case_close(&c);
    }
    enum { SAMPLES = 40000 };
    for (int k = 0; k < COUNTED; k++) {
        TaskCase c;
        case_open(&c, "counting", counted[k]);
        double with[SHOWN_MOST] = {0}, likeliest = 0;
        for (int64_t index = 0; index < SAMPLES; index++) {
            case_draw(&c, 6, SPLIT_TRAIN, index);
            with[c.sample.classes[0]]++;
        }
        for (int64_t count = 0; count < c.problem.length; count++)
            likeliest = fmax(likeliest, with[count] / SAMPLES);
        /* binomial, 6 standard deviations; the largest of several may be another's excess */
        const double deviation = sqrt(c.problem.chance * (1 - c.problem.chance) / SAMPLES);
        assert_true(fabs(likeliest - c.problem.chance) < 6 * deviation);
        case_close(&c);
    }
}

/* The largest settings: chance is a probability still, and not long in coming. By the normal
 * approximation for two kinds and N = 65,536 tokens the largest count is N / 2 + d with
 * probability 2 phi(2 d / sqrt(N)) 2 / sqrt(N), likeliest at d = 1: 4 / sqrt(2 pi N) = 0.00623; the
 * approximation's error is of order 1 / N of that. */
static void counting_knows_it_for_long_samples(void **state) {
    (void)state;
    TaskCase c;
    case_open(&c, "counting", "length=65537 vocabulary=4");
    assert_true(fabs(c.problem.chance - 4 / sqrt(2 * acos(-1) * 65536)) < 1e-6);
    case_close(&c);
    case_open(&c, "counting", "length=65537 vocabulary=65536");
    assert_true(c.problem.chance > 0.1 && c.problem.chance < 1);
    case_close(&c);
}

/* Numbers of up to 18 digits fit an integer; longer ones are added as one adds on paper, from the
 * other end than the sum is written. */
static void digits_add_up(void **state) {
    (void)state;
    static const int sizes[] = {1, 2, 4, 17, 300};
    for (int k = 0; k < 5; k++) {
        const int digits = sizes[k];
        char settings[64];
        snprintf(settings, sizeof settings, "digits=%d", digits);
        TaskCase c;
        case_open(&c, "digit_addition", settings);
        assert_int_equal(c.problem.length, 3 * digits);
        assert_int_equal(c.problem.labels, digits + 1);
        for (int64_t index = 0; index < 300; index++) {
            case_draw(&c, 5, SPLIT_TEST, index);
            const int32_t *tokens = c.sample.tokens, *classes = c.sample.classes;
            /* the model reads what it has named: all but the last digit of the sum */
            for (int i = 0; i <= digits; i++) {
                assert_int_equal(c.sample.positions[i], 2 * digits - 1 + i);
                assert_in_range(classes[i], 0, 9);
                if (i < digits) assert_int_equal(tokens[2 * digits + i], classes[i]);
            }
            if (digits < 18) {
                int64_t numbers[2] = {0}, sum = 0;
                for (int t = 0; t < 2 * digits; t++)
                    numbers[t / digits] = 10 * numbers[t / digits] + tokens[t];
                for (int i = 0; i <= digits; i++) sum = 10 * sum + classes[i];
                assert_int_equal(numbers[0] + numbers[1], sum);
                continue;
            }
            int carry = 0; /* what is left of first + second - sum, from the units on */
            for (int i = 0; i < digits; i++) {
                carry += tokens[digits - 1 - i] + tokens[2 * digits - 1 - i] - classes[digits - i];
                assert_int_equal(carry % 10, 0);
                carry /= 10;
            }
            assert_int_equal(carry, classes[0]);
        }
        case_close(&c);
    }
}

/* Every pair of numbers equally often, and what a guess from the sum's own digits is worth: of all
 * pairs, how many have the likeliest digit after those before it? */
static void addition_knows_what_guessing_is_worth(void **state) {
    (void)state;
    enum { SAMPLES = 200000, NUMBERS = 100 };
    TaskCase c;
    case_open(&c, "digit_addition", "digits=1");
    double pairs[NUMBERS] = {0};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        pairs[10 * c.sample.tokens[0] + c.sample.tokens[1]]++;
    }
    for (int pair = 0; pair < NUMBERS; pair++) /* binomial, 6 standard deviations */
        assert_true(fabs(pairs[pair] - SAMPLES * 0.01) < 6 * sqrt(SAMPLES * 0.01 * 0.99));
    case_close(&c);

    int limit = 1; /* 10^digits */
    for (int digits = 1; digits <= 3; digits++) {
        limit *= 10;
        double likeliest[2] = {0}; /* summed over places; of whole sums */
        double *sums = calloc((size_t)(2 * limit), sizeof *sums);
        for (int a = 0; a < limit; a++)
            for (int b = 0; b < limit; b++) sums[a + b]++;
        for (int unit = 1; unit <= limit; unit *= 10) /* a prefix has `unit` sums for each digit */
            for (int prefix = 0; prefix < 2 * limit; prefix += 10 * unit) {
                double most = 0;
                for (int digit = 0; digit < 10; digit++) {
                    double here = 0;
                    for (int rest = 0; rest < unit; rest++) {
                        const int sum = prefix + digit * unit + rest;
                        if (sum < 2 * limit) here += sums[sum];
                    }
                    most = fmax(most, here);
                }
                likeliest[0] += most;
            }
        for (int sum = 0; sum < 2 * limit; sum++) likeliest[1] = fmax(likeliest[1], sums[sum]);
        free(sums);
        const double all = (double)limit * limit;
        char settings[64];
        snprintf(settings, sizeof settings, "digits=%d", digits);
        case_open(&c, "digit_addition", settings);
        assert_true(fabs(c.problem.chance - likeliest[0] / all / (digits + 1)) < 1e-12);
        assert_false(c.problem.all_or_nothing);
        case_close(&c);
        snprintf(settings, sizeof settings, "digits=%d right=sum", digits);
        case_open(&c, "digit_addition", settings);
        assert_true(fabs(c.problem.chance - likeliest[1] / all) < 1e-12);
        assert_true(c.problem.all_or_nothing);
        case_close(&c);
    }
}

enum { DIMENSIONS_MOST = 8 };

/* The function from `count` examples, by least squares: normal equations, solved by elimination.
 * They are positive definite, so no rows are exchanged. */
static void fit(const float *reals, int D, int count, double weights[DIMENSIONS_MOST]) {
    double A[DIMENSIONS_MOST][DIMENSIONS_MOST + 1] = {{0}};
    for (int e = 0; e < count; e++) {
        const float *x = reals + (size_t)(2 * e) * (size_t)(D + 1), *y = x + D + 1;
        for (int i = 0; i < D; i++) {
            for (int j = 0; j < D; j++) A[i][j] += (double)x[i] * (double)x[j];
            A[i][D] += (double)x[i] * (double)y[D];
        }
    }
    for (int i = 0; i < D; i++)
        for (int row = i + 1; row < D; row++) {
            const double factor = A[row][i] / A[i][i];
            for (int j = i; j <= D; j++) A[row][j] -= factor * A[i][j];
        }
    for (int i = D - 1; i >= 0; i--) {
        weights[i] = A[i][D];
        for (int j = i + 1; j < D; j++) weights[i] -= A[i][j] * weights[j];
        weights[i] /= A[i][i];
    }
}

static void linear_functions_follow_from_their_examples(void **state) {
    (void)state;
    static const int sizes[][2] = {{1, 4}, {3, 12}, {5, 15}, {8, 40}};
    for (int k = 0; k < 8; k++) {
        const int D = sizes[k / 2][0], examples = sizes[k / 2][1], channels = D + 1;
        const bool all = k % 2;
        char settings[64];
        snprintf(settings, sizeof settings, "dimension=%d examples=%d loss=%s", D, examples,
                 all ? "all" : "answer");
        TaskCase c;
        case_open(&c, "linear_function", settings);
        assert_int_equal(c.problem.channels, channels);
        assert_int_equal(c.problem.length, 2 * examples + 1);
        assert_int_equal(c.problem.labels, all ? examples + 1 : 1);
        for (int64_t index = 0; index < 200; index++) {
            const Split split = index % 2 ? SPLIT_TEST : SPLIT_TRAIN;
            case_draw(&c, 5, split, index);
            const float *reals = c.sample.reals;
            for (int t = 0; t <= 2 * examples; t++)
                for (int i = 0; i < channels; i++) /* vectors and values take turns */
                    assert_true((reals[t * channels + i] == 0) == ((t % 2 == 0) == (i == D)));
            double weights[DIMENSIONS_MOST];
            fit(reals, D, examples, weights);
            const int labels = all && split == SPLIT_TRAIN ? examples + 1 : 1;
            for (int slot = 0; slot < labels; slot++) {
                const int place = labels == 1 ? 2 * examples : 2 * slot;
                assert_int_equal(c.sample.positions[slot], place);
                double value = 0;
                for (int i = 0; i < D; i++)
                    value += weights[i] * (double)reals[place * channels + i];
                /* values are rounded to 2^-24 of up to 20, and the worst of these fits (smallest
                 * eigenvalue against examples) makes some ten times as much of it */
                assert_true(fabs((double)c.sample.value[slot] - value) < 2e-5);
                if (slot < examples)
                    assert_true(labels == 1 ||
                                c.sample.value[slot] == reals[(place + 1) * channels + D]);
            }
            for (int64_t slot = labels; slot < c.problem.labels; slot++)
                assert_true(c.sample.weights[slot] == 0 && c.sample.value[slot] == 0);
        }
        case_close(&c);
    }
}

/* Always 0 costs the dimension D. The square of w . x has mean D and variance 3 D (D + 2) - D^2. */
static void linear_functions_cost_their_dimension(void **state) {
    (void)state;
    enum { SAMPLES = 40000 };
    for (int D = 1; D <= 16; D *= 4) {
        char settings[64];
        snprintf(settings, sizeof settings, "dimension=%d examples=%d", D, D);
        TaskCase c;
        case_open(&c, "linear_function", settings);
        double squares = 0, sum = 0;
        for (int64_t index = 0; index < SAMPLES; index++) {
            case_draw(&c, 6, SPLIT_TRAIN, index);
            squares += pow((double)c.sample.value[0], 2);
            sum += (double)c.sample.value[0];
        }
        /* 6 standard errors */
        assert_true(fabs(squares / SAMPLES - c.problem.chance) <
                    6 * sqrt((2.0 * D * D + 6 * D) / SAMPLES));
        assert_true(fabs(sum / SAMPLES) < 6 * sqrt(D / (double)SAMPLES));
        case_close(&c);
    }
}

static void impossible_settings_are_refused(void **state) {
    (void)state;
    /* 16 tokens have 120 pairs, 17 have 136: a fourth of 512 kinds is 128 */
    case_refused("majority", "length=17 vocabulary=514", STATUS_USAGE, "length=18 or more");
    case_refused("counting", "length=17 vocabulary=514", STATUS_USAGE, "task counting");
    case_refused("linear_function", "dimension=6 examples=5", STATUS_USAGE, "examples=6 or more");
    TaskCase c; /* what the messages name is taken */
    case_open(&c, "majority", "length=18 vocabulary=514");
    case_close(&c);
    case_open(&c, "linear_function", "dimension=6 examples=6");
    case_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_question_mark_asks_for_the_mode),
        cmocka_unit_test(majority_prefers_no_token),
        cmocka_unit_test(counting_knows_its_likeliest_count),
        cmocka_unit_test(counting_knows_it_for_long_samples),
        cmocka_unit_test(digits_add_up),
        cmocka_unit_test(addition_knows_what_guessing_is_worth),
        cmocka_unit_test(linear_functions_follow_from_their_examples),
        cmocka_unit_test(linear_functions_cost_their_dimension),
        cmocka_unit_test(impossible_settings_are_refused),
    };
    return cmocka_run_group_tests_name("hyena tasks", tests, NULL, NULL);
}
