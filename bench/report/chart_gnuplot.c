/* Charts as pictures: gnuplot on the files that bench/report/chart_data.c writes. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/common/home.h"
#include "bench/report/chart.h"
#include "engine/file.h"

enum { GNUPLOT_SECONDS = 120 };

/* Formats and the terminals they need. */
static const struct {
    const char *format, *terminal;
} formats[] = {{"svg", "svg"}, {"png", "pngcairo"}, {"pdf", "pdfcairo"}};
enum { FORMATS = sizeof formats / sizeof *formats };

/* Runs gnuplot in the folder; what it writes goes into said. Returns its exit status, 127 when it
 * cannot be started, 124 when it hung. */
static int run_gnuplot(const char *folder, const char *const arguments[], char *said, size_t size) {
    int ends[2];
    said[0] = 0;
    if (pipe(ends)) return 127;
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        alarm(GNUPLOT_SECONDS); /* survives exec: a gnuplot that hangs is killed */
        if (chdir(folder)) _exit(126);
        execvp("gnuplot", (char *const *)arguments);
        _exit(127);
    }
    close(ends[1]);
    size_t used = 0;
    for (;;) {
        char chunk[512];
        const ssize_t count = read(ends[0], chunk, sizeof chunk);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        const size_t room = size - 1 - used;
        const size_t kept = (size_t)count < room ? (size_t)count : room;
        memcpy(said + used, chunk, kept);
        used += kept;
    }
    said[used] = 0;
    close(ends[0]);
    int status = 0;
    if (child < 0) return 127;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 124;
}

/* The line of gnuplot's output that says what was wrong: the last one with letters in it. */
static void shorten(char *said) {
    char *last = said;
    for (char *rest = said, *line; (line = strtok_r(rest, "\n", &rest));) {
        if (strspn(line, " \t^") < strlen(line)) last = line;
    }
    memmove(said, last, strlen(last) + 1);
}

/* folder/NAME.extension; false when that is too long. */
static bool file_of(const Chart *chart, const char *folder, const char *extension,
                    char path[PATH_MAX]) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", chart->name, extension);
    return path_join(path, folder, name, NULL) == STATUS_OK;
}

static Status draw(const Chart *chart, const char *folder, const char *format, Error *error) {
    char said[2048], script[96], choice[64], partial[PATH_MAX], final[PATH_MAX];
    snprintf(script, sizeof script, "%s.gp", chart->name);
    snprintf(choice, sizeof choice, "format='%s'", format);
    if (!file_of(chart, folder, format, final)) {
        return error_set(error, STATUS_IO, "%s: path too long", folder);
    }
    snprintf(partial, sizeof partial, "%.*s%s", PATH_MAX - 16, final, FILE_PARTIAL);
    const char *const arguments[] = {"gnuplot", "-d", "-e", choice, script, NULL};
    const int exit_status = run_gnuplot(folder, arguments, said, sizeof said);
    if (exit_status == 0 && rename(partial, final) == 0) return STATUS_OK;
    unlink(partial);
    shorten(said);
    return error_set(error, STATUS_IO,
                     "%s: gnuplot failed (exit %d%s%s); the points are in %s/%s.dat, and --ascii "
                     "draws without gnuplot",
                     final, exit_status, *said ? ": " : "", said, folder, chart->name);
}

/* The picture is younger than all that it was drawn from. */
static bool drawn_already(const Chart *chart, const char *folder, const char *format) {
    char picture[PATH_MAX], data[PATH_MAX], script[PATH_MAX], template[PATH_MAX];
    return file_of(chart, folder, format, picture) && file_of(chart, folder, "dat", data) &&
           file_of(chart, folder, "gp", script) &&
           home_path(chart_template(chart), template, sizeof template, NULL) == STATUS_OK &&
           file_up_to_date(picture, data) && file_up_to_date(picture, script) &&
           file_up_to_date(picture, template);
}

/* The terminals of this gnuplot, each between blanks. */
static Status ask_terminals(const Chart *chart, const char *folder, char *terminals, size_t size,
                            Error *error) {
    const char *const arguments[] = {"gnuplot", "-d", "-e", "print ' ', GPVAL_TERMINALS, ' '",
                                     NULL};
    if (run_gnuplot(folder, arguments, terminals, size) == 0) return STATUS_OK;
    return error_set(error, STATUS_IO,
                     "gnuplot cannot be run, so there is no picture of %s; install it (Debian and "
                     "Ubuntu: apt-get install gnuplot-nox), or use --ascii. The points are in "
                     "%s/%s.dat",
                     chart->name, folder, chart->name);
}

Status chart_draw(const Chart *chart, const char *folder, FILE *names, Error *error) {
    char terminals[4096] = "", word[32];
    int shown = 0;
    for (int i = 0; i < FORMATS; i++) {
        const char *format = formats[i].format;
        Status status = STATUS_OK;
        if (!drawn_already(chart, folder, format)) {
            if (!*terminals) {
                status = ask_terminals(chart, folder, terminals, sizeof terminals, error);
            }
            snprintf(word, sizeof word, " %s ", formats[i].terminal);
            if (status == STATUS_OK && !strstr(terminals, word)) {
                fprintf(stderr,
                        "%s.%s left out: this gnuplot has no %s terminal; Debian's and Ubuntu's "
                        "gnuplot-nox has it\n",
                        chart->name, format, formats[i].terminal);
                continue;
            }
            if (status == STATUS_OK) status = draw(chart, folder, format, error);
        }
        if (status != STATUS_OK) return status;
        fprintf(names, "%s/%s.%s\n", folder, chart->name, format);
        shown++;
    }
    if (shown > 0) return STATUS_OK;
    return error_set(
        error, STATUS_IO,
        "this gnuplot has no terminal for pictures, so there is none of %s; install "
        "another (Debian and Ubuntu: apt-get install gnuplot-nox), or use --ascii. The "
        "points are in %s/%s.dat",
        chart->name, folder, chart->name);
}
