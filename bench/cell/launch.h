/* What the environment says of a launcher that started several processes of this program. */
#ifndef LONGHAUL_LAUNCH_H
#define LONGHAUL_LAUNCH_H

#include "engine/status.h"

typedef struct Launch {
    int rank, count;      /* 0 of 1 without a launcher */
    const char *variable; /* that told the count; NULL: none */
} Launch;

Launch launch_find(void);

/* For commands that are not made for several processes: refuses them, with advice. */
Status launch_refuse(const char *what, const char *advice, Error *error);

/* Makes this process and those that it starts forget the launcher. */
void launch_leave(void);

#endif
