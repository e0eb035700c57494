/*
 * A producer in C: reads lines of JSON and hands each over as an event.
 *
 *     cc producer.c $(pkg-config --cflags --libs libhookd) -o producer
 *     echo '{"order":4711}' | ./producer order.paid
 *
 * The key matters: submitted after your own database commit, with a key made from what was
 * committed, an event is stored once however often this has to be repeated.
 */
#include <stdio.h>
#include <string.h>

#include <hookd.h>

int main(int argc, char **argv)
{
	struct hookd_client *client;
	char line[65536], key[128];
	unsigned long n = 0;
	int r, failed = 0;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: producer TYPE [KEY-PREFIX] < lines of JSON\n");
		return 2;
	}
	r = hookd_client_new(&client, NULL);
	if (r < 0) {
		fprintf(stderr, "producer: %s\n", strerror(-r));
		return 1;
	}
	while (!failed && fgets(line, sizeof(line), stdin)) {
		struct hookd_event event = {
			.type = argv[1], .payload = line, .payload_len = strcspn(line, "\n")};
		struct hookd_receipt receipt;

		if (argc == 3) {
			snprintf(key, sizeof(key), "%s-%lu", argv[2], ++n);
			event.idempotency_key = key;
		}
		r = hookd_submit(client, &event, &receipt);
		if (r == HOOKD_OK) {
			printf("%s to %u endpoints%s\n", receipt.id, receipt.deliveries,
				receipt.duplicate ? ", known already" : "");
		} else {
			fprintf(stderr, "producer: %s: %s\n",
				r < 0 ? "not stored" : hookd_outcome_name(r),
				hookd_client_problem(client));
			failed = 1;
		}
	}
	hookd_client_free(client);
	return failed;
}
