/*
 * A configuration file is refused with a reason, or taken, and then what is printed reads back to
 * the same.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../daemon/config.h"
#include "fuzz.h"

/* A file in memory that has a name. */
static int read_bytes(const void *bytes, size_t len, struct config *config, struct problem *problem)
{
	static int fd = -1;
	char path[64];

	if (fd < 0)
		fd = memfd_create("hookd.conf", MFD_CLOEXEC);
	promise(ftruncate(fd, 0) == 0 && pwrite(fd, bytes, len, 0) == (ssize_t)len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return config_read(config, path, problem);
}

static void check_print(const struct config *config)
{
	char *text = NULL;
	size_t len;
	FILE *file = open_memstream(&text, &len);
	struct config again;
	struct problem problem;

	promise(file);
	config_print(config, file);
	fclose(file);
	promise(read_bytes(text, len, &again, &problem) == 0);
	promise(memcmp(&again, config, sizeof(again)) == 0);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config config;
	struct problem problem;

	if (read_bytes(data, size, &config, &problem) == 0) {
		check_print(&config);
	} else {
		promise(problem.code == PROBLEM_INVALID);
		promise(problem.detail[0]);
		promise(problem.line <= size + 1);
	}
	return 0;
}
