/* The commands, each defined in the file of its subject, all listed in main.c. */
#pragma once

#include "ctl.h"

extern const struct command command_status, command_backlog;
extern const struct command command_list, command_show;
extern const struct command command_replay, command_hold, command_release, command_cancel,
	command_purge;
extern const struct command command_pause, command_resume;
extern const struct command command_endpoint_add, command_endpoint_set, command_endpoint_list,
	command_endpoint_show, command_endpoint_remove, command_endpoint_test,
	command_endpoint_rotate_secret;
extern const struct command command_submit, command_listen, command_sign, command_verify;
extern const struct command command_backup, command_rekey;
