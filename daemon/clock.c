#include "clock.h"

#include <time.h>

/* Wall clocks are slewed by less than this between two looks; more is a step. */
#define STEP_MS 100

static int64_t read_ms(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t kernel_boot_ms(void *user)
{
	(void)user;
	return read_ms(CLOCK_BOOTTIME);
}

static int64_t kernel_wall_ms(void *user)
{
	(void)user;
	return read_ms(CLOCK_REALTIME);
}

const struct clock_source clock_kernel = {kernel_boot_ms, kernel_wall_ms, NULL};

void clock_start(struct clock *clock, const struct clock_source *source, int64_t last_queue_ms)
{
	int64_t wall, boot;

	clock->source = *source;
	wall = source->wall_ms(source->user);
	boot = source->boot_ms(source->user);
	clock->offset_ms = (wall > last_queue_ms ? wall : last_queue_ms) - boot;
	clock->skew_ms = wall - (clock->offset_ms + boot);
}

int64_t clock_queue_ms(const struct clock *clock)
{
	return clock->offset_ms + clock->source.boot_ms(clock->source.user);
}

int64_t clock_wall_ms(const struct clock *clock)
{
	return clock->source.wall_ms(clock->source.user);
}

static int64_t skew(struct clock *clock)
{
	int64_t now = clock_wall_ms(clock) - clock_queue_ms(clock);
	int64_t moved = now - clock->skew_ms;

	if (moved > STEP_MS || moved < -STEP_MS)
		clock->skew_ms = now;
	return clock->skew_ms;
}

int64_t clock_to_wall(struct clock *clock, int64_t queue_ms)
{
	return queue_ms + skew(clock);
}

int64_t clock_to_queue(struct clock *clock, int64_t wall_ms)
{
	return wall_ms - skew(clock);
}

int64_t clock_monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}
