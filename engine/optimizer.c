#include "engine/optimizer.h"

#include <math.h>

#include "engine/adamw.h"
