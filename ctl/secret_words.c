#include "secret_words.h"

#include "fields.h"
#include "say.h"

void print_secret(const struct ctl *ctl, json_t *endpoint, bool was_given, const char *address,
	const char *done)
{
	if (was_given)
		json_object_del(endpoint, "secret");
	if (ctl->json) {
		print_json(ctl, endpoint);
		return;
	}
	if (was_given) {
		print_line("%s %s", address, done);
		return;
	}
	/* The secret alone on standard output, for "> file". */
	note("%s %s; the receiver verifies with this secret, which is shown only now:", address,
		done);
	print_line("%s", field_text(endpoint, "secret"));
}
