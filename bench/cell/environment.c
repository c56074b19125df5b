#include "bench/cell/environment.h"

#include <cblas.h>
#include <fftw3.h>
#include <jansson.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <yaml.h>

#include "bench/cell/team.h"
#include "engine/device.h"
#include "engine/device_cuda.h"

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

int processors_allowed(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return CPU_COUNT(&set);
}

int processors_usable(void) {
    const int allowed = processors_allowed();
    double quota, period;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r"); /* "200000 100000", or "max 100000" */
    if (!file) return allowed;
    const bool limited = fscanf(file, "%lf %lf", &quota, &period) == 2 && period > 0;
    fclose(file);
    if (!limited || quota >= allowed * period) return allowed;
    return quota > period ? (int)(quota / period) : 1;
}

/* Value of the first line "name : value" of a file of such lines; "unknown" when there is none. */
static void file_value(const char *path, const char *name, char *text, size_t bytes) {
    snprintf(text, bytes, "unknown");
    FILE *file = fopen(path, "r");
    if (!file) return;
    char line[1024];
    while (fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (!colon || strncmp(line, name, strlen(name)) != 0) continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(text, bytes, "%.*s", (int)strcspn(colon, "\n"), colon);
        break;
    }
    fclose(file);
}

/* "unknown" when there is no such file, as in most virtual machines. */
static void first_line(const char *path, char *text, int bytes) {
    snprintf(text, (size_t)bytes, "unknown");
    FILE *file = fopen(path, "r");
    if (!file) return;
    if (!fgets(text, bytes, file)) snprintf(text, (size_t)bytes, "unknown");
    text[strcspn(text, "\n")] = '\0';
    fclose(file);
}

static json_t *device_names(void) {
    json_t *names = json_array();
    int count;
    const DeviceKind *const *kinds = device_list(&count);
    for (int i = 0; i < count; i++)
        if (!kinds[i]->for_tests) json_array_append_new(names, json_string(kinds[i]->name));
    return names;
}

static json_t *libraries(void) {
    json_t *object = json_object();
    json_object_set_new(object, "openblas", json_string(openblas_get_config()));
    json_object_set_new(object, "fftw", json_string(fftwf_version));
    json_object_set_new(object, "libyaml", json_string(yaml_get_version_string()));
    json_object_set_new(object, "jansson", json_string(jansson_version_str()));
    return object;
}

json_t *environment_json(void) {
    struct utsname system;
    const bool known = uname(&system) == 0;
    char processor[256];
    file_value("/proc/cpuinfo", "model name", processor, sizeof processor);
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    json_t *object = json_object();
    json_object_set_new(object, "version", json_string(LONGHAUL_VERSION));
    json_object_set_new(object, "revision", json_string(LONGHAUL_REVISION));
    json_object_set_new(object, "compiler", json_string(COMPILER));
    json_object_set_new(object, "compiler_flags", json_string(LONGHAUL_COMPILER_FLAGS));
    json_object_set_new(object, "libraries", libraries());
    json_object_set_new(object, "devices", device_names());
    char machine_code[512];
    cuda_machine_code(machine_code, sizeof machine_code);
    json_object_set_new(object, "cuda", json_string(machine_code));
    json_object_set_new(object, "mpi", json_string(team_describe()));
    json_object_set_new(object, "host", json_string(known ? system.nodename : "unknown"));
    json_object_set_new(object, "kernel", json_string(known ? system.release : "unknown"));
    json_object_set_new(object, "architecture", json_string(known ? system.machine : "unknown"));
    json_object_set_new(object, "processor", json_string(processor));
    json_object_set_new(object, "instruction_set", json_string(isa_name(isa_best())));
    json_object_set_new(object, "denormals",
                        json_string(device_denormals_flushed() ? "flushed to zero" : "kept"));
    json_object_set_new(object, "processors_allowed", json_integer(processors_allowed()));
    json_object_set_new(object, "processors_usable", json_integer(processors_usable()));
    json_object_set_new(object, "memory_bytes", json_integer((json_int_t)pages * page));
    double load = 0;
    json_object_set_new(object, "load_average",
                        getloadavg(&load, 1) == 1 ? json_real(load) : json_string("unknown"));
    char governor[64];
    first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", governor, sizeof governor);
    json_object_set_new(object, "frequency_governor", json_string(governor));
    return object;
}

static void print_value(FILE *out, const char *name, const json_t *value) {
    const char *key;
    json_t *part;
    size_t i;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)value, key, part) print_value(out, key, part);
        return;
    }
    fprintf(out, "%s:", name);
    if (json_is_array(value)) {
        json_array_foreach(value, i, part) fprintf(out, " %s", json_string_value(part));
    } else if (json_is_integer(value)) {
        fprintf(out, " %lld", (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        fprintf(out, " %.2f", json_real_value(value));
    } else {
        fprintf(out, " %s", json_string_value(value));
    }
    fputc('\n', out);
}

void environment_print(FILE *out) {
    json_t *object = environment_json();
    print_value(out, "", object);
    json_decref(object);
}
