#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void complain(const char *format, va_list arguments, const char *reason)
{
  flockfile(stderr);
  fputs("load: ", stderr);
  vfprintf(stderr, format, arguments);
  if (reason != NULL) fprintf(stderr, ": %s", reason);
  fputc('\n', stderr);
  funlockfile(stderr);
}

void die(const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  complain(format, arguments, NULL);
  va_end(arguments);
  _Exit(1);
}

void die_errno(const char *format, ...)
{
  const char *reason = strerror(errno);
  va_list arguments;
  va_start(arguments, format);
  complain(format, arguments, reason);
  va_end(arguments);
  _Exit(1);
}

uint64_t now_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

const char *option(const struct options *options, const char *name)
{
  for (int i = 0; i + 1 < options->count; i += 2)
    if (strcmp(options->words[i], name) == 0) return options->words[i + 1];
  return NULL;
}

uint64_t option_number(const struct options *options, const char *name, uint64_t fallback, uint64_t most)
{
  const char *text = option(options, name);
  if (text == NULL) return fallback;
  char *end;
  errno = 0;
  const unsigned long long number = strtoull(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || *text == '-' || number > most)
    die("%s takes a number of at most %llu, not %s", name, (unsigned long long)most, text);
  return number;
}

struct sockaddr_in option_address(const struct options *options, const char *name)
{
  const char *text = option(options, name);
  if (text == NULL) die("%s HOST:PORT is missing", name);
  struct sockaddr_in address = {.sin_family = AF_INET};
  char host[INET_ADDRSTRLEN];
  const char *colon = strrchr(text, ':');
  const size_t size = colon == NULL ? sizeof host : (size_t)(colon - text);
  if (size >= sizeof host) die("%s takes an IPv4 HOST:PORT, not %s", name, text);
  memcpy(host, text, size);
  host[size] = '\0';
  char *end;
  const unsigned long port = strtoul(colon + 1, &end, 10);
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || *end != '\0' || port > 65535)
    die("%s takes an IPv4 HOST:PORT, not %s", name, text);
  address.sin_port = htons((uint16_t)port);
  return address;
}

bool become_realtime(void)
{
  const struct sched_param parameters = {.sched_priority = 1};
  return sched_setscheduler(0, SCHED_RR, &parameters) == 0;
}

static int compare(const void *a, const void *b)
{
  const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
  return (left > right) - (left < right);
}

uint64_t percentile(uint64_t *samples, size_t count, double percent)
{
  if (count == 0) return 0;
  qsort(samples, count, sizeof *samples, compare);
  const size_t rank = (size_t)((double)count * percent / 100.0);
  return samples[rank < count ? rank : count - 1];
}

void start_thread(void *(*body)(void *), void *argument)
{
  pthread_t thread;
  const int error = pthread_create(&thread, NULL, body, argument);
  if (error != 0) die("no thread to be had: %s", strerror(error));
  pthread_detach(thread);
}

void *allocate(size_t count, size_t size)
{
  void *memory = calloc(count, size);
  if (memory == NULL) die("out of memory");
  return memory;
}

void say(const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  flockfile(stdout);
  vprintf(format, arguments);
  putchar('\n');
  fflush(stdout);
  funlockfile(stdout);
  va_end(arguments);
}

void serve_commands(void (*mark)(void), void (*stop)(void))
{
  char line[64];
  while (fgets(line, sizeof line, stdin) != NULL) {
    if (strcmp(line, "mark\n") == 0) mark();
    else if (strcmp(line, "stop\n") == 0) stop();
    else die("no such command: %s", line);
  }
}
