/* hookctl submit --batch. */
#pragma once

#include "ctl.h"

/* path NULL or "-": standard input. Returns an exit status. */
int submit_batch(struct ctl *ctl, const char *path);
