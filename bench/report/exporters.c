#include "bench/report/exporters.h"

#include <stdlib.h>
#include <string.h>

#include "engine/file.h"
#include "engine/memory.h"

static const Exporter exporters[] = {
    {"console", NULL, export_console}, {"md", "md", export_markdown}, {"csv", "csv", export_csv},
    {"tex", "tex", export_latex},      {"json", "json", export_json},
};

const Exporter *exporter_list(int *count) {
    *count = sizeof exporters / sizeof *exporters;
    return exporters;
}

const Exporter *exporter_find(const char *name) {
    for (size_t i = 0; i < sizeof exporters / sizeof *exporters; i++) {
        if (!strcmp(exporters[i].name, name)) return &exporters[i];
    }
    return NULL;
}

Status table_save(const Table *table, const char *folder, Error *error) {
    const TableStyle style = {.unicode = true};
    for (size_t i = 0; i < sizeof exporters / sizeof *exporters; i++) {
        if (!exporters[i].extension) continue;
        char path[PATH_MAX], name[32], *text = NULL;
        size_t bytes = 0;
        FILE *memory = memory_stream(&text, &bytes);
        exporters[i].write(table, &style, memory);
        fclose(memory);
        snprintf(name, sizeof name, "table.%s", exporters[i].extension);
        Status status = path_join(path, folder, name, error);
        if (!status) status = file_update(path, text, bytes, error);
        free(text);
        if (status) return status;
    }
    return STATUS_OK;
}
