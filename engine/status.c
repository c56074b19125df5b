#include "engine/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

Status error_set(Error *error, Status status, const char *format, ...) {
    if (!error || error->status != STATUS_OK) return status;
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return status;
}

Status error_context(Error *error, const char *format, ...) {
    char context[512];
    char message[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context, sizeof context, format, arguments);
    va_end(arguments);
    memcpy(message, error->message, sizeof message);
    snprintf(error->message, sizeof error->message, "%s: %.*s", context,
             (int)(sizeof message - strlen(context) - 3), message);
    return error->status;
}
