/*
 * hookd: the queue process. Reads the configuration, opens the store, starts senders, serves the
 * sockets, and keeps all of them going until it is told to stop.
 *
 * The main thread runs everything but the store's own threads. What is left here is life: start,
 * reload, watchdog, stop.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>

#include "../lib/units.h"
#include "api/api.h"
#include "clock.h"
#include "config.h"
#include "dispatch.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "rekey.h"
#include "reports.h"
#include "secretbox.h"
#include "service.h"
#include "store/data_lock.h"
#include "store/lmdb_check.h"
#include "store/lmdb_engine.h"
#include "store/store.h"
#include "store/store_thread.h"

#define EXIT_STORE_DAMAGED 65 /* systemd does not start hookd again after it */
#define MEND_PATIENCE_US 60000000 /* between two signs of life */
#define BACKLOG 4096
#define DRAIN_S 65 /* longer than any attempt, shorter than TimeoutStopSec= */
#define BREAK_S 2
#define RELOAD_PAUSE_US 1000000
#define SOCKETS_MAX 8

struct arguments {
	const char *config, *data, *sockets;
	enum { RUN, CHECK_CONFIG, PRINT_CONFIG, CHECK_DATA } action;
};

struct hookd {
	struct arguments arguments;
	struct event_base *base;
	struct config *config;
	struct clock clock;
	struct metrics metrics;
	struct secretbox *box;
	struct reports *reports;
	struct dispatch *dispatch;
	int lock_fd; /* of the data directory */
	struct store *store;
	struct rekey *rekey;
	struct api *api;
	int64_t start_budget;
	struct event *terminate, *interrupt, *reload, *reload_due, *watchdog, *deadline;
	int64_t reloaded_us; /* monotonic; 0: not yet */
	unsigned n_busy; /* parts that still finish */
	bool stopping, broken;
	char sender_path[4096], ca_directory[4096];
	char socket_paths[N_ROLES][108]; /* made by us, to be removed */
};

/* ---- Command line ---- */

static void print_help(void)
{
	puts("Usage: hookd [--config FILE] [--data DIR] [--sockets DIR]\n"
	     "       hookd --check-config | --print-config [--config FILE]\n"
	     "       hookd --check-data DIR\n"
	     "\n"
	     "hookd delivers webhooks: events come in through Unix sockets, are stored in one file, and\n"
	     "are delivered to every endpoint that subscribed to them. See hookd(8).\n"
	     "\n"
	     "  --config FILE    the configuration (" HOOKD_CONFIG ")\n"
	     "  --data DIR       where the data file is kept (/var/lib/hookd)\n"
	     "  --sockets DIR    where the sockets are made, unless systemd hands them in (/run/hookd)\n"
	     "  --check-config   say whether the configuration is fine, and exit\n"
	     "  --print-config   print the configuration with all defaults, and exit\n"
	     "  --check-data DIR look through the data file from end to end, with hookd stopped, and exit\n"
	     "  --version, --help");
}

static int parse_arguments(int argc, char **argv, struct arguments *a)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
		{"data", required_argument, NULL, 'd'}, {"sockets", required_argument, NULL, 's'},
		{"check-config", no_argument, NULL, 'C'}, {"print-config", no_argument, NULL, 'P'},
		{"check-data", required_argument, NULL, 'D'}, {"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			a->config = optarg;
			break;
		case 'd':
			a->data = optarg;
			break;
		case 's':
			a->sockets = optarg;
			break;
		case 'C':
			a->action = CHECK_CONFIG;
			break;
		case 'P':
			a->action = PRINT_CONFIG;
			break;
		case 'D':
			a->action = CHECK_DATA;
			a->data = optarg;
			break;
		case 'V':
			puts("hookd " HOOKD_VERSION);
			exit(0);
		case 'h':
			print_help();
			exit(0);
		default:
			fprintf(stderr, "hookd --help lists the options\n");
			return -EINVAL;
		}
	}
	if (optind < argc) {
		fprintf(stderr,
			"hookd: unexpected argument \"%s\"; hookd --help lists the options\n",
			argv[optind]);
		return -EINVAL;
	}
	return 0;
}

#define CONFIG_PROBLEM_SIZE 1024

/* "FILE: line 3: store.budget: expected ..." */
static void describe_config_problem(
	const char *path, const struct problem *p, char text[static CONFIG_PROBLEM_SIZE])
{
	char line[32] = "";

	if (p->line)
		snprintf(line, sizeof(line), "line %u: ", p->line);
	snprintf(text, CONFIG_PROBLEM_SIZE, "%.500s: %s%s%s%s", path, line, p->field,
		p->field[0] ? ": " : "", p->detail);
}

static void print_config_problem(const char *path, const struct problem *problem)
{
	char text[CONFIG_PROBLEM_SIZE];

	describe_config_problem(path, problem, text);
	fprintf(stderr, "%s\n", text);
}

/* The configuration, and what it refers to. */
static int load_config(struct config *config, const char *path, struct problem *problem)
{
	if (config_read(config, path, problem) < 0)
		return -EINVAL;
	if (access(config->network.ca_file, R_OK) == 0)
		return 0;
	problem_set(problem, PROBLEM_INVALID, "network.ca_file",
		"expected a file of certificates: cannot read %s: %s", config->network.ca_file,
		strerror(errno));
	return -EINVAL;
}

static int check_config(const struct arguments *a)
{
	struct config config;
	struct problem problem;

	if (load_config(&config, a->config, &problem) < 0) {
		print_config_problem(a->config, &problem);
		return 1;
	}
	if (a->action == PRINT_CONFIG)
		config_print(&config, stdout);
	else
		printf("%s: fine%s\n", a->config,
			access(a->config, F_OK) < 0 ? " (there is no such file: defaults)" : "");
	return 0;
}

static void print_fault(void *user, const char *fault)
{
	(void)user;
	printf("%s\n", fault);
}

/* A file that is damaged enough takes LMDB down with it. */
static void on_check_signal(int number)
{
	static const char text[] = "the data file is damaged beyond reading: restore a backup\n";

	(void)number;
	_exit(write(STDOUT_FILENO, text, sizeof(text) - 1) > 0 ? 1 : 2);
}

static int check_data(const struct arguments *a)
{
	struct check_result result;
	struct problem problem;
	int r;

#ifndef __SANITIZE_ADDRESS__
	signal(SIGBUS, on_check_signal);
	signal(SIGSEGV, on_check_signal);
	signal(SIGABRT, on_check_signal);
#else
	(void)on_check_signal;
#endif
	r = lmdb_check(a->data, print_fault, NULL, &result, &problem);
	if (r < 0) {
		fprintf(stderr, "hookd: %s\n", problem.detail);
		return 1;
	}
	printf("%s: %zu events, %zu deliveries, %zu endpoints: %s", a->data, result.n_events,
		result.n_deliveries, result.n_endpoints, result.n_faults ? "" : "no faults\n");
	if (result.n_faults)
		printf("%zu faults\n", result.n_faults);
	return result.n_faults ? 1 : 0;
}

/* ---- Stopping ---- */

/* While they are served still: behind that, what is there may be another hookd's. */
static void remove_sockets(struct hookd *h)
{
	for (int role = 0; role < N_ROLES; role++) {
		if (h->socket_paths[role][0])
			unlink(h->socket_paths[role]);
		h->socket_paths[role][0] = '\0';
	}
}

static void leave_loop(struct hookd *h)
{
	event_base_loopexit(h->base, NULL);
}

static void on_part_idle(void *user)
{
	struct hookd *h = user;

	if (--h->n_busy == 0)
		leave_loop(h);
}

static void on_deadline(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	log_line(LOG_LEVEL_NOTICE, LOG_STOP, NULL,
		"not all that is under way has ended in time; hookd stops without it");
	leave_loop(user);
}

static void begin_stop(struct hookd *h, int limit_s)
{
	struct timeval limit = {limit_s, 0};

	h->stopping = true;
	service_notify("STOPPING=1\nSTATUS=Stopping: attempts in flight finish");
	loop_add(h->deadline, &limit);
	h->n_busy = 2;
	remove_sockets(h);
	api_stop(h->api, on_part_idle, h);
	dispatch_stop(h->dispatch, on_part_idle, h);
}

static void on_stop_signal(evutil_socket_t number, short what, void *user)
{
	struct hookd *h = user;

	(void)what;
	if (h->stopping) {
		log_line(LOG_LEVEL_NOTICE, LOG_STOP, NULL,
			"stopping at once; attempts in flight are made again");
		leave_loop(h);
		return;
	}
	log_line(LOG_LEVEL_NOTICE, LOG_STOP, NULL, "%s: stopping; attempts in flight finish",
		strsignal((int)number));
	begin_stop(h, DRAIN_S);
}

/* ---- What the store tells ---- */

static void on_touched(
	void *user, struct slot *slot, const struct slot *before, const struct touched *touched)
{
	dispatch_touched(((struct hookd *)user)->dispatch, slot, before, touched);
}

static void on_forgetting(void *user, struct slot *slot)
{
	dispatch_forgetting(((struct hookd *)user)->dispatch, slot);
}

static void on_edited(void *user, struct slot *slot, const struct endpoint *before)
{
	dispatch_edited(((struct hookd *)user)->dispatch, slot, before);
}

static void on_claimed(void *user, uint32_t endpoint, struct claimed *list, int64_t next_due_ms)
{
	dispatch_claimed(((struct hookd *)user)->dispatch, endpoint, list, next_due_ms);
}

static void on_committed(void *user, unsigned n_requests, int64_t commit_us)
{
	struct hookd *h = user;

	histogram_add(&h->metrics.commit_duration, (double)commit_us / 1e6);
	if (n_requests)
		histogram_add(&h->metrics.commit_requests, n_requests);
}

static void on_mending(void *user, const char *line)
{
	(void)user;
	service_notify("EXTEND_TIMEOUT_USEC=%d", MEND_PATIENCE_US);
	if (line)
		log_line(LOG_LEVEL_WARNING, LOG_STORE, NULL, "%s", line);
}

static void on_early(void *user, unsigned n_events)
{
	reports_early(((struct hookd *)user)->reports, n_events);
}

static void on_broken(void *user, const char *why)
{
	struct hookd *h = user;

	if (h->broken)
		return;
	log_line(LOG_LEVEL_ERROR, LOG_STORE, NULL,
		"the store failed: %s; hookd stops, what was not answered is perhaps not stored",
		why);
	h->broken = true;
	if (!h->stopping)
		begin_stop(h, BREAK_S);
}

static const struct store_callbacks store_callbacks = {.touched = on_touched,
	.forgetting = on_forgetting,
	.edited = on_edited,
	.claimed = on_claimed,
	.committed = on_committed,
	.mending = on_mending,
	.early = on_early,
	.broken = on_broken};

/* ---- Reload, watchdog ---- */

static struct store_settings store_settings_of(const struct config *c)
{
	return (struct store_settings){.limits = {c->store.budget, c->store.min_free_disk},
		.keep_delivered_ms = c->retention.delivered * 1000,
		.keep_dead_ms = c->retention.dead * 1000};
}

static unsigned count_cores(void)
{
	cpu_set_t cores;

	return sched_getaffinity(0, sizeof(cores), &cores) == 0 ? (unsigned)CPU_COUNT(&cores) : 1;
}

/* The map of the data file is made at the start, for four times the budget of then. */
static int check_budget(const struct hookd *h, const struct config *fresh, struct problem *problem)
{
	char most[UNITS_TEXT_SIZE];

	if (fresh->store.budget <= 2 * h->start_budget)
		return 0;
	units_format_size(2 * h->start_budget, most);
	problem_set(problem, PROBLEM_INVALID, "store.budget",
		"expected at most %s, twice what it was when hookd started; a restart takes any",
		most);
	return -EINVAL;
}

static void reload(struct hookd *h)
{
	struct config *fresh = malloc(sizeof(*fresh)), *old = h->config;
	struct store_settings settings;
	struct problem problem;

	h->reloaded_us = clock_monotonic_us();
	service_notify("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_monotonic_us());
	problem_set(&problem, PROBLEM_BUSY, NULL, "out of memory");
	if (!fresh || load_config(fresh, h->arguments.config, &problem) < 0 ||
		check_budget(h, fresh, &problem) < 0) {
		char text[CONFIG_PROBLEM_SIZE];

		describe_config_problem(h->arguments.config, &problem, text);
		log_line(LOG_LEVEL_ERROR, LOG_RELOAD, NULL,
			"%s; the old configuration stays in force", text);
		free(fresh);
	} else {
		fresh->senders.count = old->senders.count;
		h->config = fresh;
		settings = store_settings_of(fresh);
		log_set_level(fresh->log.level);
		store_set_settings(h->store, &settings);
		api_reload(h->api, fresh);
		dispatch_reload(h->dispatch, fresh);
		free(old);
		log_line(LOG_LEVEL_NOTICE, LOG_RELOAD, NULL, "configuration read again from %s",
			h->arguments.config);
	}
	service_notify("READY=1");
}

/* A signal, or the timer below, which counts from the beginning of a turn of the loop and so may be
 * early. A reload starts new senders, and the old ones finish what they have. Were every signal of
 * a storm obeyed, there would be hundreds of them: those that come within a second are one. */
static void on_reload(evutil_socket_t number, short what, void *user)
{
	struct hookd *h = user;
	int64_t wait_us = h->reloaded_us + RELOAD_PAUSE_US - clock_monotonic_us();
	struct timeval wait = {wait_us / 1000000, wait_us % 1000000};

	(void)number;
	(void)what;
	if (!h->reloaded_us || wait_us <= 0)
		reload(h);
	else if (!event_pending(h->reload_due, EV_TIMEOUT, NULL))
		loop_add(h->reload_due, &wait);
}

/* The loop turns, or this would not run; the store has to have moved, too. */
static void on_watchdog(evutil_socket_t fd, short what, void *user)
{
	struct hookd *h = user;
	struct dispatch_numbers numbers = dispatch_numbers(h->dispatch);

	(void)fd;
	(void)what;
	if (store_is_alive(h->store))
		service_notify(
			"WATCHDOG=1\nSTATUS=%u attempts in flight, %zu endpoints, %u of %u senders",
			numbers.in_flight, registry_total(store_registry(h->store)),
			numbers.senders_running, numbers.senders_wanted);
}

/* ---- Sockets ---- */

static int role_of_name(const char *name)
{
	for (int role = 0; role < N_ROLES; role++) {
		if (strcmp(role_name((enum role)role), name) == 0)
			return role;
	}
	return -EINVAL;
}

/* Takes the sockets that systemd hands in. Returns how many, or a negative errno. */
static int take_sockets(struct hookd *h)
{
	struct service_socket sockets[SOCKETS_MAX];
	int n = service_sockets(sockets, SOCKETS_MAX);

	for (int i = 0; i < n; i++) {
		int role = role_of_name(sockets[i].name);

		if (role < 0 || (role != ROLE_METRICS && !sockets[i].is_unix)) {
			log_line(LOG_LEVEL_ERROR, LOG_TROUBLE, NULL,
				"a socket named \"%s\" was handed in; expected Unix sockets named submit, manage and admin, and "
				"metrics (FileDescriptorName=)",
				sockets[i].name);
			return -EINVAL;
		}
		if (api_listen(h->api, sockets[i].fd, (enum role)role) < 0)
			return -ENOMEM;
	}
	return n;
}

/* Is somebody listening there? */
static bool is_served(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool served =
		fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;

	if (fd >= 0)
		close(fd);
	return served;
}

static int make_socket(struct hookd *h, enum role role)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char *path = h->socket_paths[role];
	mode_t mask;
	int fd, r;

	if (snprintf(path, sizeof(h->socket_paths[0]), "%s/%s.sock", h->arguments.sockets,
		    role_name(role)) >= (int)sizeof(address.sun_path)) {
		log_line(LOG_LEVEL_ERROR, LOG_TROUBLE, NULL,
			"%s/%s.sock is too long for the path of a socket (107 bytes): give another --sockets",
			h->arguments.sockets, role_name(role));
		path[0] = '\0';
		return -ENAMETOOLONG;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (is_served(&address)) {
		log_line(LOG_LEVEL_ERROR, LOG_TROUBLE, NULL, "another process serves %s", path);
		path[0] = '\0';
		return -EADDRINUSE;
	}
	unlink(path); /* left by a hookd that was killed */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	mask = umask(0117); /* 0660 */
	r = fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
			listen(fd, BACKLOG) < 0
		? -errno
		: 0;
	umask(mask);
	if (r < 0) {
		log_line(LOG_LEVEL_ERROR, LOG_TROUBLE, NULL, "cannot listen at %s: %s", path,
			strerror(-r));
		if (fd >= 0)
			close(fd);
		path[0] = '\0';
		return r;
	}
	return api_listen(h->api, fd, role);
}

static int make_sockets(struct hookd *h)
{
	if (mkdir(h->arguments.sockets, 0755) < 0 && errno != EEXIST) {
		log_line(LOG_LEVEL_ERROR, LOG_TROUBLE, NULL, "cannot make the directory %s: %s",
			h->arguments.sockets, strerror(errno));
		return -errno;
	}
	for (int role = 0; role < N_ROLES; role++) {
		int r = make_socket(h, (enum role)role);

		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- Starting ---- */

/* A truncated or damaged data file shows as one of these. Starting again would not help; an
 * administrator has to look. */
#ifndef __SANITIZE_ADDRESS__
static void on_fatal_signal(int number)
{
	static const char text[] = "store damaged: check or restore (hookd --check-data)\n";

	/* It only reads marks.
	 * NOLINTNEXTLINE(bugprone-signal-handler,cert-sig30-c) */
	if (store_thread_is_suspect()) {
		if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
			_exit(EXIT_STORE_DAMAGED);
		_exit(EXIT_STORE_DAMAGED);
	}
	signal(number, SIG_DFL);
	raise(number);
}
#endif

static void prepare_process(void)
{
	struct rlimit files;

	signal(SIGPIPE, SIG_IGN);
#ifndef __SANITIZE_ADDRESS__ /* which wants to tell of them itself */
	signal(SIGBUS, on_fatal_signal);
	signal(SIGSEGV, on_fatal_signal);
	signal(SIGABRT, on_fatal_signal); /* as LMDB and malloc(3) do when they find damage */
#endif
	prctl(PR_SET_DUMPABLE, 0); /* no core with secrets in it */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files); /* less is enough for less */
	}
	setvbuf(stderr, NULL, _IOLBF, 0);
}

/* The sender lies beside hookd in a build directory, else where it was installed. */
static void find_sender(struct hookd *h)
{
	ssize_t len = readlink("/proc/self/exe", h->sender_path, sizeof(h->sender_path) - 32);
	char *slash;

	h->sender_path[len > 0 ? len : 0] = '\0';
	slash = strrchr(h->sender_path, '/');
	if (slash) {
		memcpy(slash + 1, "hookd-sender", sizeof("hookd-sender"));
		if (access(h->sender_path, X_OK) == 0)
			return;
	}
	snprintf(h->sender_path, sizeof(h->sender_path), "%s", HOOKD_SENDER);
}

/* "ca" beside the configuration file */
static void find_ca_directory(struct hookd *h)
{
	const char *slash = strrchr(h->arguments.config, '/');

	snprintf(h->ca_directory, sizeof(h->ca_directory), "%.*sca",
		slash ? (int)(slash + 1 - h->arguments.config) : 0, h->arguments.config);
}

static int read_config(struct hookd *h)
{
	struct problem problem;

	h->config = malloc(sizeof(*h->config));
	if (!h->config) {
		fprintf(stderr, "hookd: out of memory\n");
		return -ENOMEM;
	}
	if (load_config(h->config, h->arguments.config, &problem) < 0) {
		fprintf(stderr, "hookd: ");
		print_config_problem(h->arguments.config, &problem);
		return -EINVAL;
	}
	h->start_budget = h->config->store.budget;
	log_set_level(h->config->log.level);
	if (h->config->senders.count == 0)
		h->config->senders.count = count_cores();
	return 0;
}

/* What is sealed in their records is not what hookd sealed. The others go on. */
static void tell_locked(struct hookd *h)
{
	struct registry *registry = store_registry(h->store);

	for (struct slot *slot = registry_next(registry, 0); slot;
		slot = registry_next(registry, slot->settings->number + 1)) {
		char address[ENDPOINT_ADDRESS_SIZE];
		struct log_fields fields = {.endpoint = address, .tenant = slot->settings->tenant};

		if (slot->settings->n_secrets || slot->settings->removed)
			continue;
		endpoint_address(slot->settings, address);
		log_line(LOG_LEVEL_ERROR, LOG_STORE, &fields, "%s is paused: %s", address,
			slot->settings->reason ? slot->settings->reason : "it has no secret");
	}
}

static int open_data(struct hookd *h)
{
	struct store_options options = {.directory = h->arguments.data,
		.engine = &engine_lmdb,
		.settings = store_settings_of(h->config),
		.clock = &h->clock,
		.clock_source = &clock_kernel,
		.box = h->box,
		.base = h->base,
		.callbacks = &store_callbacks,
		.user = h};
	char data_file[4096];
	bool is_first_start;
	struct problem problem;
	int r;

	if (mkdir(h->arguments.data, 0700) < 0 && errno != EEXIST) {
		log_line(LOG_LEVEL_ERROR, LOG_STORE, NULL, "cannot make the directory %s: %s",
			h->arguments.data, strerror(errno));
		return -errno;
	}
	h->lock_fd = data_lock(h->arguments.data, &problem);
	if (h->lock_fd < 0) {
		log_line(LOG_LEVEL_ERROR, LOG_STORE, NULL, "%s", problem.detail);
		return -EIO;
	}
	snprintf(data_file, sizeof(data_file), "%s/" DATA_FILE, h->arguments.data);
	is_first_start = access(data_file, F_OK) < 0 && errno == ENOENT;
	r = secretbox_open_keys(h->box, h->arguments.data, is_first_start, &problem);
	if (r == 0)
		r = store_open(&h->store, &options, &problem);
	if (r < 0)
		log_line(LOG_LEVEL_ERROR, LOG_STORE, NULL, "%s", problem.detail);
	else
		tell_locked(h);
	return r;
}

static int make_parts(struct hookd *h)
{
	struct dispatch_options dispatch = {.base = h->base,
		.clock = &h->clock,
		.metrics = &h->metrics,
		.config = h->config,
		.ca_directory = h->ca_directory,
		.sender_path = h->sender_path};
	struct api_options api = {.base = h->base,
		.clock = &h->clock,
		.metrics = &h->metrics,
		.config = h->config,
		.box = h->box,
		.data_directory = h->arguments.data};
	struct rekey_options rekey = {
		.base = h->base, .box = h->box, .data_directory = h->arguments.data};
	int r;

	metrics_init(&h->metrics);
	h->reports = dispatch.reports = reports_new(h->base, &h->clock);
	r = h->reports ? dispatch_new(&h->dispatch, &dispatch) : -ENOMEM;
	if (r == 0)
		r = open_data(h);
	if (r < 0)
		return r;
	rekey.store = h->store;
	h->rekey = rekey_new(&rekey);
	if (!h->rekey)
		return -ENOMEM;
	api.rekey = h->rekey;
	api.store = h->store;
	api.dispatch = h->dispatch;
	api.started_wall_ms = clock_wall_ms(&h->clock);
	return api_new(&h->api, &api);
}

static struct event *on_signal(struct hookd *h, int number, event_callback_fn callback)
{
	struct event *event = evsignal_new(h->base, number, callback, h);

	if (event)
		loop_add(event, NULL);
	return event;
}

static int arm(struct hookd *h)
{
	uint64_t watchdog_us = service_watchdog_us() / 2;
	struct timeval interval = {
		(time_t)(watchdog_us / 1000000), (suseconds_t)(watchdog_us % 1000000)};

	h->terminate = on_signal(h, SIGTERM, on_stop_signal);
	h->interrupt = on_signal(h, SIGINT, on_stop_signal);
	h->reload = on_signal(h, SIGHUP, on_reload);
	h->reload_due = evtimer_new(h->base, on_reload, h);
	h->deadline = evtimer_new(h->base, on_deadline, h);
	h->watchdog = event_new(h->base, -1, EV_PERSIST, on_watchdog, h);
	if (!h->terminate || !h->interrupt || !h->reload || !h->reload_due || !h->deadline ||
		!h->watchdog)
		return -ENOMEM;
	if (watchdog_us)
		loop_add(h->watchdog, &interval);
	return 0;
}

static int start(struct hookd *h)
{
	int r = make_parts(h);

	if (r == 0)
		r = arm(h);
	if (r == 0) {
		r = take_sockets(h);
		if (r == 0)
			r = make_sockets(h);
	}
	if (r < 0)
		return r;
	r = store_start(h->store);
	if (r < 0) {
		log_line(LOG_LEVEL_ERROR, LOG_STORE, NULL,
			"cannot start the threads of the store: %s",
			r == -EAGAIN ? "no memory, or too many threads (TasksMax=)" : strerror(-r));
		return r;
	}
	dispatch_start(h->dispatch, h->store);
	rekey_start(h->rekey);
	service_notify("READY=1");
	log_line(LOG_LEVEL_NOTICE, LOG_START, NULL,
		"hookd " HOOKD_VERSION " started: data in %s, %zu endpoints, %lld senders%s",
		h->arguments.data, registry_total(store_registry(h->store)),
		(long long)h->config->senders.count,
		store_sending(h->store)->paused ? "; all sending is paused (hookctl resume --all)"
						: "");
	return 0;
}

static void free_event(struct event *event)
{
	if (event)
		event_free(event);
}

static void finish(struct hookd *h)
{
	remove_sockets(h);
	if (h->store)
		store_finish(h->store); /* everything that was handed in is stored and answered */
	dispatch_free(h->dispatch); /* tests that are under way are answered */
	rekey_free(h->rekey); /* who waits for a new key is told */
	api_free(h->api); /* the answers leave */
	store_close(h->store);
	if (h->lock_fd >= 0)
		close(h->lock_fd);
	reports_free(h->reports);
	free_event(h->terminate);
	free_event(h->interrupt);
	free_event(h->reload);
	free_event(h->reload_due);
	free_event(h->watchdog);
	free_event(h->deadline);
	if (h->base)
		event_base_free(h->base);
	secretbox_free(h->box);
	free(h->config);
}

static int run(const struct arguments *arguments)
{
	struct hookd h = {.arguments = *arguments, .lock_fd = -1};
	int r;

	prepare_process();
	find_sender(&h);
	find_ca_directory(&h);
	if (read_config(&h) < 0)
		return 1;
	h.base = event_base_new();
	h.box = secretbox_new();
	r = h.base && h.box ? start(&h) : -ENOMEM;
	if (r < 0) {
		if (r == -ENOMEM)
			log_line(LOG_LEVEL_ERROR, LOG_TROUBLE, NULL, "out of memory");
		finish(&h);
		return r == -EBADMSG ? EXIT_STORE_DAMAGED : 1;
	}
	if (event_base_dispatch(h.base) < 0) {
		log_line(LOG_LEVEL_ERROR, LOG_TROUBLE, NULL,
			"the event loop failed: %s; hookd stops, what was not answered is perhaps not stored",
			strerror(errno));
		h.broken = true;
	}
	finish(&h);
	log_line(LOG_LEVEL_NOTICE, LOG_STOP, NULL, "hookd stopped");
	return h.broken ? 1 : 0;
}

int main(int argc, char **argv)
{
	const char *state = getenv("STATE_DIRECTORY");
	struct arguments arguments = {.config = HOOKD_CONFIG,
		.data = state ? state : "/var/lib/hookd",
		.sockets = "/run/hookd"};

	if (parse_arguments(argc, argv, &arguments) < 0)
		return 2;
	switch (arguments.action) {
	case CHECK_CONFIG:
	case PRINT_CONFIG:
		return check_config(&arguments);
	case CHECK_DATA:
		return check_data(&arguments);
	case RUN:
		break;
	}
	return run(&arguments);
}
