/* Counting: ordinary tokens, then a question mark, at which the model says how often the most
 * frequent of them came ("a b b b a c b" gives 4). The answer is a class of its own, 0 .. N.
 *
 * Source: Poli et al. 2023 (Hyena), arXiv 2302.10866, table 4.1 and appendix A.1, which show only
 * that prompt; the generator was never released. Our own completion: tokens are uniform with
 * replacement, ties are kept (the count is the same), and only the answer is scored. Some counts
 * are far more likely than others: chance is the accuracy of always naming the likeliest. Another
 * problem than language=majority_count of `formal`, where the count is one of 63 symbols. */
#include <complex.h>
#include <math.h>
#include <stdlib.h>

#include "tasks/labels.h"
#include "tasks/most_frequent.h"
#include "tasks/sampling.h"

extern const Task task_counting;

/* By squaring: cpow is not a number where the base is exactly 0. */
static double complex power(double complex base, int64_t exponent) {
    double complex product = 1;
    for (; exponent > 0; exponent /= 2, base *= base)
        if (exponent % 2) product *= base;
    return product;
}

/* Probability of the likeliest largest count c of N uniform draws of V kinds.
 *
 * P(largest <= c) is that of V independent Poisson counts of mean N / V, given that their sum is N:
 * P(every count <= c and sum = N) / P(sum = N), where the sum is Poisson of mean N. The numerator
 * is a Fourier coefficient of phi_c^V with phi_c(x) = sum over j <= c of p_j exp(2 pi i x j / K),
 * p_j the probabilities of one count; a new c adds one term to each phi. K points also add the
 * probabilities of sums N +- K, N +- 2 K ...: below exp(-100) for K = 64 + 16 sqrt(N). */
static double likeliest_largest(int64_t shown, int64_t kinds) {
    const double turn = 2 * acos(-1), mean = (double)shown / (double)kinds;
    const double probability_of_sum =
        exp((double)shown * log((double)shown) - (double)shown - lgamma((double)shown + 1));
    const int64_t points = 64 + 16 * (int64_t)ceil(sqrt((double)shown));
    double complex *roots = scratch_open((size_t)(2 * points) * sizeof *roots);
    double complex *phi = roots + points;
    for (int64_t x = 0; x < points; x++) roots[x] = cexp(I * turn * (double)x / (double)points);
    double likeliest = 0, at_most = 0; /* P(largest <= c) */
    for (int64_t c = 0; c <= shown && 1 - at_most > likeliest; c++) {
        const double p = exp((double)c * log(mean) - mean - lgamma((double)c + 1));
        for (int64_t x = 0; x < points; x++) phi[x] += p * roots[x * c % points];
        if (c * kinds < shown) continue; /* no room for all */
        double sum = 0;
        for (int64_t x = 0; x < points; x++)
            sum += creal(power(phi[x], kinds) * conj(roots[x * shown % points]));
        const double before = at_most;
        at_most = sum / (double)points / probability_of_sum;
        likeliest = fmax(likeliest, at_most - before);
    }
    free(roots);
    return round(1e9 * likeliest) / 1e9; /* the same on machines whose exp differs in a last bit */
}

static Status counting_problem(const void *values, Problem *problem, Error *error) {
    const MostFrequent *own = values;
    if (most_frequent_problem(&task_counting, own, problem, error) != STATUS_OK)
        return error->status;
    problem->classes = most_frequent_shown(own) + 1;
    problem->chance = likeliest_largest(most_frequent_shown(own), most_frequent_kinds(own));
    return STATUS_OK;
}

static void counting_sample(const void *values, const void *data, uint64_t seed, Split split,
                            int64_t index, Sample *sample) {
    (void)data;
    const MostFrequent *own = values;
    Random random = task_random(&task_counting, seed, split, index);
    const Mode mode = most_frequent_draw(own, &random, sample);
    label_set(sample, 0, most_frequent_shown(own), mode.count);
}

const Task task_counting = {
    .name = "counting",
    .title = "Counting: how often the most frequent token came",
    .paper = "Poli et al. 2023 (Hyena), arXiv 2302.10866",
    .version = 1,
    .options = {most_frequent_options, MOST_FREQUENT_OPTIONS, sizeof(MostFrequent)},
    .problem = counting_problem,
    .count = count_endless,
    .sample = counting_sample,
};
