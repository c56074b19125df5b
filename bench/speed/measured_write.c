/* Files of measured times: writing. */
#include <stdlib.h>
#include <string.h>

#include "bench/cell/environment.h"
#include "bench/speed/measured.h"
#include "engine/device.h"
#include "engine/file.h"

static void describe_machine(Isa isa, char *text, size_t bytes) {
    Device device;
    if (device_open(&device, "cpu", NULL) != STATUS_OK) return;
    device.isa = isa;
    device.kind->describe(&device, text, bytes);
    device_close(&device);
}

json_t *measured_heading(const char *kind, const char *machine, Isa isa, int threads) {
    char processor[256] = "";
    describe_machine(isa, processor, sizeof processor);
    return json_pack("{s:i, s:s, s:s, s:i, s:o}", "schema", MEASURED_SCHEMA, "kind", kind,
                     "machine", machine ? machine : processor, "threads", threads, "environment",
                     environment_json());
}

json_t *measured_numbers(const double *values, int count) {
    json_t *array = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(array, json_real(values[i]));
    return array;
}

Status measured_write(json_t *file, const char *path, Error *error) {
    char *text = file ? json_dumps(file, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(file);
    if (!text) return error_set(error, STATUS_IO, "%s: report has no JSON form", path);
    Status status = STATUS_OK;
    if (strcmp(path, "-") == 0)
        puts(text);
    else
        status = file_write(path, text, strlen(text), error);
    free(text);
    return status;
}
