#include "dice.h"

#include <string.h>

static uint64_t state;

/* splitmix64: any seed is as good as any other, neighbours included. */
uint64_t dice_bits(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

void dice_seed(uint64_t seed)
{
	state = seed;
	state = dice_bits();
}

uint32_t dice(uint32_t below)
{
	return (uint32_t)((dice_bits() >> 32) * below >> 32);
}

int64_t dice_between(int64_t low, int64_t high)
{
	return low + (int64_t)(dice_bits() % (uint64_t)(high - low + 1));
}

int64_t dice_spread(int64_t low, int64_t high)
{
	uint64_t range = (uint64_t)(high - low);
	unsigned bits = 0;

	while (bits < 63 && range >> bits)
		bits++;
	bits = dice(bits + 1);
	range = dice_bits() & ((UINT64_C(1) << bits) - 1);
	return range > (uint64_t)(high - low) ? high : low + (int64_t)range;
}

bool dice_once_in(uint32_t times)
{
	return times && dice(times) == 0;
}

void dice_fill(void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i += 8) {
		uint64_t bits = dice_bits();

		memcpy((uint8_t *)bytes + i, &bits, n - i < 8 ? n - i : 8);
	}
}
