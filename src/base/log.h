/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages for whoever runs the server: to stderr, or to syslog once daemonised.
 * Any layer may call it, with any lock held; it takes none of ours and never fails.
 */
#ifndef DAXFUSE_BASE_LOG_H
#define DAXFUSE_BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_target { LOG_TARGET_STDERR, LOG_TARGET_SYSLOG };

/* name: what precedes each line on stderr, and the syslog ident; kept, not copied. */
void log_open(const char *name, enum log_target target, enum log_level level);
/* Connects to syslog already, for who will not see its socket's path when it is opened. */
void log_connect(const char *name);
void log_set_level(enum log_level level);
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
