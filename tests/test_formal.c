/* Formal languages: every answer is computed again from the spelled prompt by a second, independent
 * method; lengths, symbols and answers follow their law. */
#include "tests/task_case.h"

#include <math.h>

enum { MOST = 600 };

/* The prompt as text, one name a token. */
typedef struct Prompt {
    char names[MOST][TASK_SPELL_BYTES];
    int length;
} Prompt;

static Prompt prompt;

static bool is(int i, const char *name) {
    return i < prompt.length && strcmp(prompt.names[i], name) == 0;
}

static int number(int i) {
    return atoi(prompt.names[i]);
}

/* sum := product {(+|-) product}; product := factor {* factor}; factor := - factor | ( sum ) |
 * digit. Modulo 5. x stands for the value tried. */
typedef struct Parser {
    int at, x;
} Parser;

static int parse_sum(Parser *p);

static int parse_factor(Parser *p) {
    if (is(p->at, "-")) {
        p->at++;
        return 5 - parse_factor(p);
    }
    if (is(p->at, "(")) {
        p->at++;
        const int value = parse_sum(p);
        assert_true(is(p->at, ")"));
        p->at++;
        return value;
    }
    if (is(p->at, "x")) {
        p->at++;
        return p->x;
    }
    assert_in_range(prompt.names[p->at][0], '0', '4');
    return number(p->at++);
}

static int parse_sum(Parser *p) {
    int sum = 0, sign = 1;
    for (;;) {
        int product = parse_factor(p);
        while (is(p->at, "*")) {
            p->at++;
            product = product * parse_factor(p) % 5;
        }
        sum = (sum + sign * product + 25) % 5;
        if (is(p->at, "+"))
            sign = 1;
        else if (is(p->at, "-"))
            sign = -1;
        else
            return sum;
        p->at++;
    }
}

static int solve_one(char answer[], int value) {
    snprintf(answer, TASK_SPELL_BYTES, "%d", value);
    return 1;
}

typedef char Answers[MOST][TASK_SPELL_BYTES];

static int solve_parity(Answers answers) {
    int ones = 0;
    for (int i = 0; i < prompt.length; i++) ones += is(i, "1");
    return solve_one(answers[0], ones % 2);
}

static int solve_even_pairs(Answers answers) {
    int unequal = 0;
    for (int i = 1; i < prompt.length; i++) unequal += number(i) != number(i - 1);
    return solve_one(answers[0], unequal % 2);
}

static int solve_cycle(Answers answers) {
    int place = 0;
    for (int i = 0; i < prompt.length; i++) place += is(i, "stay") ? 0 : number(i);
    return solve_one(answers[0], (place % 5 + 5) % 5);
}

static int solve_value(Answers answers) {
    Parser p = {0, 0};
    const int value = parse_sum(&p);
    assert_true(is(p.at, "=") && p.at == prompt.length - 1);
    return solve_one(answers[0], value);
}

static int solve_equation(Answers answers) {
    int solutions = 0, solution = 0;
    for (int x = 0; x < 5; x++) {
        Parser p = {0, x};
        const int value = parse_sum(&p);
        assert_true(is(p.at, "=") && p.at == prompt.length - 3 && is(p.at + 2, "[ACT]"));
        if (value != number(p.at + 1)) continue;
        solutions++;
        solution = x;
    }
    assert_int_equal(solutions, 1);
    return solve_one(answers[0], solution);
}

static int solve_reverse(Answers answers) {
    const int k = prompt.length - 1;
    for (int i = 0; i < k; i++) strcpy(answers[i], prompt.names[k - 1 - i]);
    return k;
}

static int solve_repetition(Answers answers) {
    const int k = prompt.length - 1;
    for (int i = 0; i < k; i++) strcpy(answers[i], prompt.names[i]);
    return k;
}

static int solve_odds_first(Answers answers) {
    const int k = prompt.length - 1;
    for (int i = 0; i < k; i++)
        strcpy(answers[i % 2 == 0 ? i / 2 : (k + 1) / 2 + i / 2], prompt.names[i]);
    return k;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(a, b);
}

static int solve_bucket_sort(Answers answers) {
    memcpy(answers, prompt.names, sizeof prompt.names);
    qsort(answers, (size_t)prompt.length, TASK_SPELL_BYTES, compare_names);
    return prompt.length;
}

static int solve_set(Answers answers) {
    int count = 0;
    for (int i = 0; i < prompt.length - 1; i++) {
        int j = 0;
        while (j < count && strcmp(answers[j], prompt.names[i]) != 0) j++;
        if (j == count) strcpy(answers[count++], prompt.names[i]);
    }
    return count;
}

static int solve_stack(Answers answers) {
    char stack[MOST];
    int height = 0, i = 0;
    for (; i < prompt.length - 1 && strlen(prompt.names[i]) == 1; i++)
        stack[height++] = prompt.names[i][0];
    assert_true(height > 0);
    for (; i < prompt.length - 1; i++) {
        if (!is(i, "pop"))
            stack[height++] = prompt.names[i][5];
        else if (height > 0)
            height--;
    }
    for (int j = 0; j < height; j++)
        snprintf(answers[j], TASK_SPELL_BYTES, "%c", stack[height - 1 - j]);
    return height;
}

static int solve_missing(Answers answers) {
    const int half = prompt.length / 2;
    int missing = 0;
    while (!is(missing, "[MIS]")) missing++;
    for (int i = 0; i < half; i++)
        if (i != missing % half) assert_string_equal(prompt.names[i], prompt.names[i + half]);
    strcpy(answers[0], prompt.names[(missing + half) % prompt.length]);
    return 1;
}

static int most_frequent(int *count) {
    int best = 0;
    *count = 0;
    for (int i = 0; i < prompt.length; i++) {
        int same = 0;
        for (int j = 0; j < prompt.length; j++) same += number(i) == number(j);
        if (same > *count) {
            *count = same;
            best = number(i);
        }
    }
    return best;
}

static int solve_majority(Answers answers) {
    int count;
    const int best = most_frequent(&count);
    for (int i = 0; i < prompt.length; i++) {
        int same = 0;
        for (int j = 0; j < prompt.length; j++) same += number(i) == number(j);
        assert_true(same < count || number(i) == best); /* no tie */
    }
    return solve_one(answers[0], best);
}

static int solve_count(Answers answers) {
    int count;
    most_frequent(&count);
    return solve_one(answers[0], count < 63 ? count : 63);
}

/* Tests have numbers of at most 125 bits, so that sums and squares fit. */
__extension__ typedef unsigned __int128 Number;

static Number number_of(int from, int step, int bits) {
    Number value = 0; /* bits from the highest: prompt positions from, from + step, ... */
    for (int i = 0; i < bits; i++) value = 2 * value + (Number)is(from + i * step, "1");
    return value;
}

static int solve_addition(Answers answers) {
    int plus = 0, count = 0;
    while (!is(plus, "+")) plus++;
    const int second = prompt.length - 2 - plus;
    assert_true(plus > 0 && second > 0 && is(prompt.length - 1, "[ACT]"));
    const Number a = number_of(plus - 1, -1, plus);
    const Number b = number_of(plus + second, -1, second);
    assert_true(a > 0 && b > 0);
    for (Number sum = a + b; sum > 0; sum /= 2) strcpy(answers[count++], sum % 2 == 1 ? "1" : "0");
    strcpy(answers[count++], "+");
    return count;
}

static int solve_root(Answers answers) {
    const int k = prompt.length - 1, count = (k + 1) / 2;
    const Number value = number_of(0, 1, k);
    Number low = 0, high = (Number)1 << count; /* low^2 <= value < high^2 */
    assert_true(value > 0 && is(k, "[ACT]"));
    while (high - low > 1) {
        const Number middle = (low + high) / 2;
        if (middle * middle <= value)
            low = middle;
        else
            high = middle;
    }
    for (int i = 0; i < count; i++) strcpy(answers[i], low >> (count - 1 - i) & 1 ? "1" : "0");
    return count;
}

static const struct {
    const char *name;
    int (*solve)(Answers answers);
    int stride, shift; /* sizes of words: stride * k + shift; 0: not fixed by the prompt */
    double chance;
} languages[] = {
    {"parity", solve_parity, 1, 0, 1.0 / 2},
    {"even_pairs", solve_even_pairs, 1, 0, 1.0 / 2},
    {"cycle", solve_cycle, 1, 0, 1.0 / 5},
    {"arithmetic", solve_value, 2, -1, 1.0 / 5},
    {"brackets", solve_value, 1, 2, 1.0 / 5},
    {"equation", solve_equation, 1, 4, 1.0 / 5},
    {"reverse", solve_reverse, 2, 1, 1.0 / 10},
    {"stack", solve_stack, 0, 0, 1.0 / 4},
    {"majority", solve_majority, 1, 1, 1.0 / 63},
    {"majority_count", solve_count, 1, 1, 1.0 / 63},
    {"missing_duplicate", solve_missing, 2, 1, 1.0 / 9},
    {"bucket_sort", solve_bucket_sort, 2, 0, 1.0 / 10},
    {"odds_first", solve_odds_first, 2, 1, 1.0 / 10},
    {"repetition", solve_repetition, 2, 1, 1.0 / 10},
    {"set", solve_set, 0, 0, 1.0 / 126},
    {"binary_addition", solve_addition, 0, 0, 1.0 / 2},
    {"square_root", solve_root, 0, 0, 1.0 / 2},
};

/* The prompt is what is not padded; answers are named from its last token on. */
static void read_prompt(const TaskCase *c, Split split) {
    const int64_t length = problem_for(&c->problem, split).length;
    prompt.length = 0;
    while (prompt.length < length && c->sample.tokens[prompt.length] != 0) {
        c->task->spell(c->options, c->data, c->sample.tokens[prompt.length],
                       prompt.names[prompt.length]);
        prompt.length++;
    }
    for (int64_t t = prompt.length; t < length; t++) assert_int_equal(c->sample.tokens[t], 0);
}

static void every_word_is_solved(void **state) {
    (void)state;
    static Answers answers;
    for (size_t l = 0; l < sizeof languages / sizeof *languages; l++) {
        char settings[64];
        snprintf(settings, sizeof settings, "language=%s shortest=6", languages[l].name);
        TaskCase c;
        case_open(&c, "formal", settings);
        assert_true(fabs(c.problem.chance - languages[l].chance) < 1e-12);
        int least = MOST, most = 0;
        for (int64_t index = 0; index < 400; index++) {
            const Split split = index % 2 == 0 ? SPLIT_TRAIN : SPLIT_TEST;
            case_draw(&c, 5, split, index);
            read_prompt(&c, split);
            const int count = languages[l].solve(answers);
            for (int i = 0; i < count; i++) {
                char name[TASK_SPELL_BYTES];
                c.task->spell(c.options, c.data, c.sample.classes[i], name);
                assert_string_equal(name, answers[i]);
                assert_int_equal(c.sample.positions[i], prompt.length - 1 + i);
                assert_true(c.sample.weights[i] == 1);
            }
            for (int64_t i = count; i < problem_for(&c.problem, split).labels; i++)
                assert_true(c.sample.weights[i] == 0);
            assert_int_equal(c.sample.lengths[0], prompt.length + count - 1);
            const int size = prompt.length + count;
            if (split == SPLIT_TRAIN) {
                if (size < least) least = size;
                if (size > most) most = size;
            } else {
                assert_true(size <= 256);
            }
        }
        /* 200 draws of at most 37 sizes miss an end with probability below 1 % each; the draws are
         * fixed, and one step of slack keeps the bound honest */
        if (languages[l].stride > 0) {
            assert_in_range(least, 6 - (languages[l].stride - 1), 6 + 2 * languages[l].stride);
            assert_in_range(most, 40 - 2 * languages[l].stride, 40);
        }
        case_close(&c);
    }
}

/* The choices that a user types and the table are in the same order: every name says itself. */
static void hand_made_words_of_parity_and_cycle(void **state) {
    (void)state;
    TaskCase c;
    case_open(&c, "formal", "language=cycle shortest=2 longest=2");
    for (int64_t index = 0; index < 50; index++) { /* one move from place 0 */
        case_draw(&c, 5, SPLIT_TRAIN, index);
        static const int32_t after[] = {0, 4, 5, 8};
        assert_int_equal(c.sample.classes[0], after[c.sample.tokens[0]]);
        assert_int_equal(c.sample.positions[0], 0);
        assert_int_equal(c.sample.lengths[0], 1);
    }
    case_close(&c);
}

static void sizes_and_answers_are_uniform(void **state) {
    (void)state;
    enum { SAMPLES = 40000 };
    static const char *const balanced[] = {"parity", "even_pairs", "cycle", "missing_duplicate",
                                           "equation"};
    static const int guesses[] = {2, 2, 5, 9, 5};
    static const int sizes[] = {38, 38, 38, 19, 36};
    for (int l = 0; l < 5; l++) {
        char settings[64];
        snprintf(settings, sizeof settings, "language=%s", balanced[l]);
        TaskCase c;
        case_open(&c, "formal", settings);
        double answers[16] = {0}, lengths[64] = {0};
        for (int64_t index = 0; index < SAMPLES; index++) {
            case_draw(&c, 6, SPLIT_TRAIN, index);
            answers[c.sample.classes[0]] += 1;
            lengths[c.sample.lengths[0]] += 1;
        }
        for (int a = 0; a < 16; a++) { /* 6 standard deviations of a binomial count */
            const double p = 1.0 / guesses[l];
            if (answers[a] > 0)
                assert_true(fabs(answers[a] - SAMPLES * p) < 6 * sqrt(SAMPLES * p * (1 - p)));
        }
        int used = 0;
        for (int t = 0; t < 64; t++) {
            const double p = 1.0 / sizes[l];
            if (lengths[t] == 0) continue;
            used++;
            assert_true(fabs(lengths[t] - SAMPLES * p) < 6 * sqrt(SAMPLES * p * (1 - p)));
        }
        assert_int_equal(used, sizes[l]);
        case_close(&c);
    }
}

/* With 7 tokens a number has 1 to 5 bits, equally often; each is uniform without zero, and so is
 * the number whose root is drawn. Binomial counts, 6 standard deviations. */
static void numbers_are_uniform(void **state) {
    (void)state;
    enum { SAMPLES = 40000 };
    TaskCase c;
    case_open(&c, "formal", "language=binary_addition shortest=15 longest=15");
    double sizes[6] = {0}, twos[4] = {0};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        read_prompt(&c, SPLIT_TRAIN);
        assert_int_equal(prompt.length, 8);
        int plus = 0;
        while (!is(plus, "+")) plus++;
        assert_in_range(plus, 1, 5);
        sizes[plus] += 1;
        if (plus == 2) twos[number_of(1, -1, 2)] += 1;
    }
    for (int bits = 1; bits <= 5; bits++)
        assert_true(fabs(sizes[bits] - SAMPLES / 5.0) < 6 * sqrt(SAMPLES * 0.16));
    for (int value = 1; value < 4; value++)
        assert_true(fabs(twos[value] - sizes[2] / 3) < 6 * sqrt(sizes[2] * 2 / 9));
    case_close(&c);
    case_open(&c, "formal", "language=square_root shortest=7 longest=7");
    double values[8] = {0};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        read_prompt(&c, SPLIT_TRAIN);
        assert_int_equal(prompt.length, 4);
        values[number_of(0, 1, 3)] += 1;
    }
    assert_true(values[0] == 0);
    for (int value = 1; value < 8; value++)
        assert_true(fabs(values[value] - SAMPLES / 7.0) < 6 * sqrt(SAMPLES * 6.0 / 49));
    case_close(&c);
}

static void impossible_settings_are_refused(void **state) {
    (void)state;
    case_refused("formal", "shortest=30 longest=20", STATUS_USAGE, "longest=30");
    case_refused("formal", "language=equation shortest=3 longest=4", STATUS_USAGE, "longest=5");
    case_refused("formal", "test_shortest=90 test_longest=50", STATUS_USAGE, "test_longest=90");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_word_is_solved),
        cmocka_unit_test(hand_made_words_of_parity_and_cycle),
        cmocka_unit_test(sizes_and_answers_are_uniform),
        cmocka_unit_test(numbers_are_uniform),
        cmocka_unit_test(impossible_settings_are_refused),
    };
    return cmocka_run_group_tests_name("formal", tests, NULL, NULL);
}
