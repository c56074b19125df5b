/* Golden values: the authors' reference implementations, run in double precision elsewhere, against
 * our networks with the same weights and input: output, gradient of the input and of every
 * parameter. tests/golden/README.md says what produced each file. An argument names files; default:
 * all. */
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/check/reference.h"
#include "bench/check/subject.h"
#include "engine/safetensors.h"

/* The files hold float32 roundings of double results; our float32 network adds the rounding of some
 * 10^3 dependent operations. */
static const double output_tolerance = 1e-4;
static const double gradient_tolerance = 1e-3;

/* Where all that is expected is zero (an offset that a softmax cannot see has no gradient), the
 * largest number itself. */
static double error_of(const float *actual, const float *expected, int64_t size) {
    double *wide = malloc((size_t)size * sizeof *wide), most = 0, largest = 0;
    for (int64_t i = 0; i < size; i++) {
        wide[i] = (double)expected[i];
        most = fmax(most, fabs(wide[i]));
        largest = worse(largest, fabs((double)actual[i]));
    }
    const double error = most > 0 ? reference_error(actual, wide, size) : largest;
    free(wide);
    return error;
}

typedef struct Golden {
    const char *path;
    Safetensors file;
    int passed, failed;
} Golden;

static const float *floats(Golden *golden, const char *name, const Shape *shape) {
    Error error = {0};
    const float *data = NULL;
    if (safetensors_floats(&golden->file, name, shape, &data, &error) == STATUS_OK) return data;
    printf("FAIL %s\n", error.message);
    golden->failed++;
    return NULL;
}

static void compare(Golden *golden, const char *name, const float *actual, const Shape *shape,
                    double allowed) {
    const float *expected = floats(golden, name, shape);
    if (!expected) return;
    const double error = error_of(actual, expected, shape_size(shape));
    const bool good = error <= allowed;
    if (!good) printf("FAIL %s %s: error %.2e, allowed %.0e\n", golden->path, name, error, allowed);
    *(good ? &golden->passed : &golden->failed) += 1;
}

static void load_parameters(Golden *golden, Subject *subject) {
    for (int p = 0; p < subject->parameters->count; p++) {
        Tensor *tensor = &subject->parameters->list[p]->tensor;
        char name[256];
        snprintf(name, sizeof name, "parameter.%s", tensor->name);
        if (subject->parameters->list[p]->group.frozen && !safetensors_find(&golden->file, name))
            continue;
        const float *values = floats(golden, name, &tensor->shape);
        if (values) memcpy(tensor->data, values, (size_t)tensor_size(tensor) * sizeof(float));
    }
}

static void compare_all(Golden *golden, Subject *subject) {
    const float *x = floats(golden, "x", &subject->x->shape);
    const float *cotangent = floats(golden, "cotangent", &subject->out->shape);
    load_parameters(golden, subject);
    if (!x || !cotangent || golden->failed) return;
    memcpy(subject->x->data, x, (size_t)tensor_size(subject->x) * sizeof(float));
    subject_backward(subject, cotangent, 1);
    compare(golden, "output", subject->out->data, &subject->out->shape, output_tolerance);
    compare(golden, "gradient.x", subject->x->gradient, &subject->x->shape, gradient_tolerance);
    for (int p = 0; p < subject->parameters->count; p++) {
        const Parameter *parameter = subject->parameters->list[p];
        char name[256];
        snprintf(name, sizeof name, "gradient.%s", parameter->tensor.name);
        if (!parameter->group.frozen)
            compare(golden, name, parameter->tensor.gradient, &parameter->tensor.shape,
                    gradient_tolerance);
    }
}

static void run(Golden *golden) {
    Error error = {0};
    if (safetensors_open(&golden->file, golden->path, &error) != STATUS_OK) {
        printf("FAIL %s\n", error.message);
        golden->failed++;
        return;
    }
    const char *name = safetensors_note(&golden->file, "model");
    const char *settings = safetensors_note(&golden->file, "options");
    const char *causal = safetensors_note(&golden->file, "causal");
    const Model *model = name ? model_find(name) : NULL;
    const Safetensor *x = safetensors_find(&golden->file, "x");
    if (!model || !settings || !x || x->shape.rank != 3) {
        printf("FAIL %s: no model, options or x in it\n", golden->path);
        golden->failed++;
    } else {
        const int64_t length = x->shape.extent[1];
        const bool is_causal = !causal || (strcmp(causal, "no") && strcmp(causal, "false"));
        const SubjectShape shape = {x->shape.extent[0], length,    length,
                                    TAPE_TRAIN,         is_causal, false};
        Subject subject;
        if (subject_open(&subject, model, settings, &shape, NULL, &error) == STATUS_OK) {
            compare_all(golden, &subject);
        } else {
            printf("FAIL %s: %s\n", golden->path, error.message);
            golden->failed++;
        }
        subject_close(&subject);
    }
    safetensors_close(&golden->file);
}

int main(int arguments, char **argument) {
    glob_t files;
    const char *pattern = arguments > 1 ? argument[1] : "tests/golden/*.safetensors";
    int passed = 0, failed = glob(pattern, 0, NULL, &files) != 0;
    for (size_t i = 0; i < files.gl_pathc; i++) {
        Golden golden = {.path = files.gl_pathv[i]};
        run(&golden);
        printf("%s: %d compared, %d off\n", golden.path, golden.passed + golden.failed,
               golden.failed);
        passed += golden.passed;
        failed += golden.failed;
    }
    globfree(&files);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0 || passed == 0;
}
