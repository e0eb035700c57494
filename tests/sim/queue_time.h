/*
 * Queue time as it should be: it starts at the later of the wall clock and the last one stored, and
 * goes on with the boot clock. Reckoned here, so as not to believe hookd's.
 */
#pragma once

#include <stdint.h>

void queue_time_start(int64_t last_stored_ms); /* 0: nothing was stored yet */
int64_t queue_ms(void);
