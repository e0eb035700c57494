/*
 * The end of a process that cannot go on without memory.
 *
 * Most of what cannot be allocated is an error like others: a request is refused, an attempt is put
 * off. Where something that hookd has promised would be forgotten, it stops instead, in order: a
 * line that says so, and an exit status that makes systemd start it again. Nothing is lost by that.
 * What was answered is on the disk, and whoever still waits for an answer submits again.
 */
#pragma once

/* what: that could not be kept in mind. Does not return. Any thread of hookd or of a sender. */
_Noreturn void out_of_memory(const char *what);
