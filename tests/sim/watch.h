/*
 * The oracle's eyes inside hookd: calls between its rooms that are looked at on their way (--wrap).
 */
#pragma once

#include <stdbool.h>

struct senders;

/* Whether there is anything to be seen; a hookd that was killed is not looked at. */
void watch(bool on);
/* Those of the hookd that runs. */
const struct senders *watch_senders(void);
