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
	print_line("%s %s", address, done);
	if (was_given)
		return;
	print_line("secret: %s", field_text(endpoint, "secret"));
	note("This is the only time it is shown. The receiver needs it to verify what hookd sends.");
}
