#include "out_of_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

void out_of_memory(const char *what)
{
	/* Without stdio, which may want memory of its own. */
	const char *words[] = {program_invocation_short_name, ": out of memory for ", what,
		": it stops, and goes on from the disk when it is started again\n"};
	struct iovec parts[4];

	for (int i = 0; i < 4; i++)
		parts[i] = (struct iovec){(void *)words[i], strlen(words[i])};
	if (writev(STDERR_FILENO, parts, 4) < 0)
		_exit(EXIT_FAILURE); /* nobody to tell */
	_exit(EXIT_FAILURE);
}
