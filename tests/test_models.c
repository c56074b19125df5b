/* Every model against the properties that all models share, and a sabotage run that must be
 * noticed. An argument selects checks by name: build/tests/test_models model/mamba/ -v */
#include <stdio.h>

#include "bench/check.h"

int main(int arguments, char **argument) {
    CheckOptions options = {
        .out = stdout, .filter = arguments > 1 ? argument[1] : NULL, .verbose = arguments > 2};
    CheckCount count = {0};
    check_models(&options, &count);
    if (arguments == 1) {
        FILE *null = fopen("/dev/null", "w");
        const CheckOptions sabotage = {.out = null, .filter = "/gradient", .sabotage = 0.1};
        CheckCount caught = {0};
        check_models(&sabotage, &caught);
        fclose(null);
        int models;
        model_list(&models);
        if (caught.failed < models) printf("FAIL sabotage: a wrong gradient passed\n");
        *(caught.failed < models ? &count.failed : &count.passed) += 1;
    }
    printf("%d passed, %d failed\n", count.passed, count.failed);
    return count.failed != 0 || count.passed == 0;
}
