/* Claims: who works on a cell's folder. A claim is a file made exclusively, so that two sweeps,
 * also on two machines that share the folder, never run one cell twice. Its owner touches it every
 * few seconds; a claim whose owner has died, or which has not been touched for long, is taken over.
 */
#ifndef LONGHAUL_CLAIM_H
#define LONGHAUL_CLAIM_H

#include <stdbool.h>

#include "engine/status.h"

enum { CLAIM_HOLDER_BYTES = 192 };

typedef struct Claim Claim;

/* Tries once. *claim is NULL when somebody else holds it; holder then says who ("pid 12 on host").
 * STATUS_IO when the folder cannot be written. */
Status claim_take(const char *folder, Claim **claim, char holder[CLAIM_HOLDER_BYTES], Error *error);
void claim_release(Claim *claim); /* NULL is fine */

/* Who made the folder's claim: "pid 12 on host". */
void claim_holder(const char *folder, char holder[CLAIM_HOLDER_BYTES]);

/* True when somebody alive holds the folder's claim, as far as can be told from here. */
bool claim_held(const char *folder);

#endif
