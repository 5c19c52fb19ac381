/* between.c - see between.h. */
#include "between.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    void (*_Atomic hook)(void);
    atomic_int fd;
} hooks[CALLS];

static pid_t owner;
static atomic_int refused, watches;
static atomic_uint waits;

void refuse(enum refusal refusal)
{
    owner = getpid();
    atomic_store(&watches, 0);
    atomic_store(&refused, (int)refusal);
}

/* To the relay's threads: their memory is theirs. */
static bool is_refused(enum refusal refusal)
{
    return atomic_load(&refused) == (int)refusal && gettid() != owner;
}

void between(enum call call, int fd, void (*hook)(void))
{
    owner = getpid();
    atomic_store(&hooks[call].fd, fd);
    atomic_store(&hooks[call].hook, hook);
}

static void run(enum call call, int fd)
{
    void (*hook)(void) = atomic_load(&hooks[call].hook);
    int wanted = atomic_load(&hooks[call].fd);
    if (!hook || (wanted >= 0 && wanted != fd) || (call != JOIN && call != WATCHED && gettid() == owner))
        return;
    if (atomic_compare_exchange_strong(&hooks[call].hook, &hook, NULL))
        hook();
}

ssize_t __real_recv(int fd, void *buffer, size_t size, int flags);
int __real_shutdown(int fd, int how);
int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __real_pthread_join(pthread_t thread, void **result);
void *__real_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __real_epoll_wait(int epoll, struct epoll_event *events, int most, int ms);

ssize_t __wrap_recv(int fd, void *buffer, size_t size, int flags);
int __wrap_shutdown(int fd, int how);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_join(pthread_t thread, void **result);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int ms);

ssize_t __wrap_recv(int fd, void *buffer, size_t size, int flags)
{
    run(RECV, fd);
    return __real_recv(fd, buffer, size, flags);
}

int __wrap_shutdown(int fd, int how)
{
    run(SHUTDOWN, fd);
    return __real_shutdown(fd, how);
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    int result = __real_pthread_mutex_unlock(mutex);
    run(MUTEX_UNLOCKED, -1);
    return result;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    run(JOIN, -1);
    return __real_pthread_join(thread, result);
}

void *__wrap_malloc(size_t size)
{
    return is_refused(MEMORY) ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return is_refused(MEMORY) ? NULL : __real_realloc(memory, size);
}

int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    if (operation == EPOLL_CTL_ADD &&
        (atomic_load(&refused) == WATCHES || (atomic_load(&refused) == SECOND_WATCH && atomic_fetch_add(&watches, 1) == 1))) {
        errno = ENOSPC;
        return -1;
    }
    int result = __real_epoll_ctl(epoll, operation, fd, event);
    if (operation == EPOLL_CTL_ADD)
        run(WATCHED, fd);
    return result;
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int ms)
{
    atomic_fetch_add(&waits, 1);
    return __real_epoll_wait(epoll, events, most, ms);
}

unsigned sleeps(void)
{
    return atomic_load(&waits);
}
