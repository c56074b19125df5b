/* Every operation against its reference on every instruction set of this machine, and a sabotage
 * run that must be noticed. An argument selects checks by name: build/tests/test_ops op/attention/
 * -v */
#include <stdio.h>

#include "bench/check/check.h"

int main(int arguments, char **argument) {
    CheckOptions options = {
        .out = stdout, .filter = arguments > 1 ? argument[1] : NULL, .verbose = arguments > 2};
    CheckCount count = {0};
    check_ops(&options, &count);

    if (arguments == 1) {
        /* An error of 1 % in one output and one gradient element: the first case of each op must
         * notice. */
        FILE *null = fopen("/dev/null", "w");
        CheckOptions sabotage = {.out = null, .sabotage = 1e-2};
        int ops;
        const Op *const *list = op_list(&ops);
        for (int i = 0; i < ops; i++) {
            char filter[200];
            CheckCount caught = {0};
            snprintf(filter, sizeof filter, "op/%s/%s/%s", list[i]->name, list[i]->cases[0].name,
                     isa_name(isa_best()));
            sabotage.filter = filter;
            check_ops(&sabotage, &caught);
            if (!caught.failed) printf("FAIL %s/sabotage: an error of 1 %% passed\n", filter);
            *(caught.failed ? &count.passed : &count.failed) += 1;
        }
        fclose(null);
    }
    printf("%d passed, %d failed\n", count.passed, count.failed);
    return count.failed != 0 || count.passed == 0;
}
