#include "host_files.h"

#include <string.h>
#include <sys/stat.h>

static const char *path_of(unsigned i, const char *ca_file)
{
	static const char *const paths[HOST_FILES] = {"/etc/resolv.conf", "/etc/hosts"};

	return paths[i] ? paths[i] : ca_file;
}

void host_files_look(struct host_files *files, const char *ca_file)
{
	memset(files, 0, sizeof(*files));
	for (unsigned i = 0; i < HOST_FILES; i++) {
		struct stat status;

		if (stat(path_of(i, ca_file), &status) < 0)
			continue;
		files->stamps[i].device = status.st_dev;
		files->stamps[i].inode = status.st_ino;
		files->stamps[i].size = status.st_size;
		files->stamps[i].changed_s = status.st_ctim.tv_sec;
		files->stamps[i].changed_ns = status.st_ctim.tv_nsec;
	}
}

const char *host_files_changed(
	const struct host_files *earlier, const struct host_files *now, const char *ca_file)
{
	for (unsigned i = 0; i < HOST_FILES; i++) {
		if (memcmp(&earlier->stamps[i], &now->stamps[i], sizeof(now->stamps[i])) != 0)
			return path_of(i, ca_file);
	}
	return NULL;
}
