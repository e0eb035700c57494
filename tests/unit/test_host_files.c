#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "../../daemon/host_files.h"

static struct event_base *base;
static struct host_files *files;
static char directory[64];
static char told[256];
static unsigned n_told;

static void on_changed(const char *path, void *user)
{
	(void)user;
	snprintf(told, sizeof(told), "%s", path);
	n_told++;
}

static int setup(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/host-files-XXXXXX");
	base = event_base_new();
	n_told = 0;
	if (!base || !mkdtemp(directory) || host_files_new(&files, base, on_changed, NULL) < 0)
		return -1;
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	host_files_free(files);
	event_base_free(base);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

/* A path in the directory; valid until the next but three. */
static const char *in(const char *name)
{
	static char paths[4][128];
	static unsigned n;
	char *path = paths[n++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

static void put(const char *name, const char *text)
{
	FILE *file = fopen(in(name), "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void run_ms(int ms)
{
	struct timeval time = {ms / 1000, ms % 1000 * 1000};

	event_base_loopexit(base, &time);
	event_base_dispatch(base);
}

static void assert_told_once(const char *name)
{
	for (int i = 0; i < 100 && !n_told; i++)
		run_ms(100);
	assert_int_equal(n_told, 1);
	assert_string_equal(told, in(name));
	host_files_mark(files, in(name));
	run_ms(2500); /* and never again */
	assert_int_equal(n_told, 1);
}

static void test_nothing_is_told_of_files_that_stay_the_same(void **state)
{
	(void)state;
	put("ca", "one");
	host_files_mark(files, in("ca"));
	put("other", "two");
	assert_int_equal(chmod(directory, 0755), 0);
	run_ms(2500);
	assert_int_equal(n_told, 0);
}

static void test_a_file_that_is_replaced_is_told(void **state)
{
	(void)state;
	put("ca", "one");
	host_files_mark(files, in("ca"));
	put("ca.new", "two");
	assert_int_equal(rename(in("ca.new"), in("ca")), 0);
	assert_told_once("ca");
}

static void test_a_file_that_is_removed_is_told(void **state)
{
	(void)state;
	put("ca", "one");
	host_files_mark(files, in("ca"));
	assert_int_equal(unlink(in("ca")), 0);
	assert_told_once("ca");
}

static void test_a_file_that_is_being_written_is_told_when_it_is_whole(void **state)
{
	FILE *file;

	(void)state;
	put("ca", "one");
	host_files_mark(files, in("ca"));
	file = fopen(in("ca"), "w");
	assert_non_null(file);
	for (int i = 0; i < 12; i++) {
		fprintf(file, "line %d\n", i);
		fflush(file);
		run_ms(250);
		assert_int_equal(n_told, 0);
	}
	fclose(file);
	assert_told_once("ca");
}

static void test_what_a_link_leads_to_is_watched(void **state)
{
	(void)state;
	assert_int_equal(mkdir(in("real"), 0700), 0);
	put("real/file", "one");
	assert_int_equal(symlink("real/../real/file", in("ca")), 0);
	host_files_mark(files, in("ca"));
	put("real/new", "two");
	assert_int_equal(rename(in("real/new"), in("real/file")), 0);
	assert_told_once("ca");
}

static void test_a_link_on_the_way_that_leads_elsewhere_is_told(void **state)
{
	(void)state;
	assert_int_equal(mkdir(in("old"), 0700), 0);
	assert_int_equal(mkdir(in("new"), 0700), 0);
	put("old/ca", "one");
	put("new/ca", "two");
	assert_int_equal(symlink("old", in("current")), 0);
	host_files_mark(files, in("current/ca"));
	assert_int_equal(symlink(in("new"), in("next")), 0);
	assert_int_equal(rename(in("next"), in("current")), 0);
	assert_told_once("current/ca");
}

static void test_a_directory_that_comes_later_is_watched(void **state)
{
	(void)state;
	host_files_mark(files, in("a/b/ca"));
	assert_int_equal(mkdir(in("a"), 0700), 0);
	run_ms(1500);
	assert_int_equal(mkdir(in("a/b"), 0700), 0);
	run_ms(1500);
	assert_int_equal(n_told, 0);
	put("a/b/ca", "one");
	assert_told_once("a/b/ca");
}

static void test_links_in_a_circle_are_not_followed_for_ever(void **state)
{
	(void)state;
	assert_int_equal(symlink("b", in("a")), 0);
	assert_int_equal(symlink("a", in("b")), 0);
	host_files_mark(files, in("a"));
	put("c", "one");
	assert_int_equal(rename(in("c"), in("a")), 0);
	assert_told_once("a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_nothing_is_told_of_files_that_stay_the_same, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_file_that_is_replaced_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_file_that_is_removed_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_file_that_is_being_written_is_told_when_it_is_whole, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			test_what_a_link_leads_to_is_watched, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_link_on_the_way_that_leads_elsewhere_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_directory_that_comes_later_is_watched, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_links_in_a_circle_are_not_followed_for_ever, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
