#include "queue_time.h"

#include "kernel.h"

static int64_t offset_ms;

void queue_time_start(int64_t last_stored_ms)
{
	int64_t wall_ms = kernel_wall_ms();

	offset_ms = (wall_ms > last_stored_ms ? wall_ms : last_stored_ms) - kernel_boot_ms();
}

int64_t queue_ms(void)
{
	return offset_ms + kernel_boot_ms();
}
