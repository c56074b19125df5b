/* Status codes and the error record. A user's mistake or a failing file is a value that travels up
 * to the command line; a programmer's mistake is an assert. Status values are the exit codes. */
#ifndef LONGHAUL_STATUS_H
#define LONGHAUL_STATUS_H

typedef enum Status {
    STATUS_OK = 0,
    STATUS_CELLS_FAILED = 1, /* a sweep finished, but some cells failed */
    STATUS_USAGE = 2,        /* command line or configuration */
    STATUS_REGRESSION = 3,   /* a comparison found something slower */
    STATUS_DATA = 4,         /* data missing or wrong */
    STATUS_NUMERIC = 5,      /* not-a-number or divergence where a number was needed */
    STATUS_IO = 74,          /* reading or writing failed */
    STATUS_INTERRUPTED = 75  /* stopped by a signal; running again continues */
} Status;

/* The first failure: what happened, where (file, line, key), what was expected, what to do next. */
typedef struct Error {
    Status status;
    char message[1024];
} Error;

/* Formats the message into *error unless an earlier failure is there already (the first one is the
 * cause), and returns the status so that a caller can write `return error_set(...)`.
 * error may be NULL when only the status matters. */
Status error_set(Error *error, Status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " in front of the message that is already in *error; returns error->status. */
Status error_context(Error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
