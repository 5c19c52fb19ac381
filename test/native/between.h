/*
 * between.h - steps in between two calls of the core, where a race is a matter of nanoseconds: the linker sends the calls of relay.c
 * through here (--wrap), and a test says what is to happen first, once, on the relay's thread.
 */
#ifndef SPLICEWAY_TEST_BETWEEN_H
#define SPLICEWAY_TEST_BETWEEN_H

enum call { RECV, SHUTDOWN, MUTEX_UNLOCKED, JOIN, WATCHED, CALLS };

/*
 * `hook` runs once: before the next such call on `fd` (-1 for every one) or after a mutex was unlocked, by another thread than this one; JOIN and
 * WATCHED (after epoll has begun to watch `fd`): by any.
 */
void between(enum call call, int fd, void (*hook)(void));

enum refusal { NOTHING, MEMORY, WATCHES, SECOND_WATCH };

/* What the core does not get from here on: its threads memory, or anybody in it watches of epoll, all or the second. */
void refuse(enum refusal refusal);

/* How often threads of the core have gone to sleep, or have looked whether they may. */
unsigned sleeps(void);

#endif
