#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK (64 << 10)

/* Chunks that one call moves before the other connections get their turn. */
#define TURN 8

/* SplitMix64 (Steele, Lea, Flood 2014): word number `index` of the stream of a seed. */
static uint64_t word(uint64_t seed, uint64_t index)
{
  uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

/* Bytes `offset` to `offset + size` of the stream; size is at most CHUNK. */
static const unsigned char *stream(uint64_t seed, uint64_t offset, size_t size)
{
  static _Thread_local uint64_t words[CHUNK / 8 + 2];
  const size_t skipped = offset % 8, count = (skipped + size + 7) / 8;
  for (size_t i = 0; i < count; i++) words[i] = word(seed, offset / 8 + i);
  return (const unsigned char *)words + skipped;
}

struct check check_of(uint64_t seed, uint64_t length, bool is_server)
{
  const uint64_t up = word(seed, 0), down = word(seed, 1);
  return (struct check){
    .seed_out = is_server ? down : up,
    .seed_in = is_server ? up : down,
    .length = length,
    .wrong_at = CHECK_RIGHT,
  };
}

static size_t chunk_of(uint64_t left)
{
  return left < CHUNK ? (size_t)left : CHUNK;
}

bool check_send(struct check *check, int fd)
{
  for (int turn = 0; turn < TURN && check->sent < check->length; turn++) {
    const size_t size = chunk_of(check->length - check->sent);
    const ssize_t sent = send(fd, stream(check->seed_out, check->sent, size), size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) return errno == EAGAIN;
    check->sent += (uint64_t)sent;
    if ((size_t)sent < size) break;
  }
  return true;
}

bool check_receive(struct check *check, int fd)
{
  static _Thread_local unsigned char bytes[CHUNK];
  for (int turn = 0; turn < TURN && check->received < check->length; turn++) {
    const ssize_t got = recv(fd, bytes, chunk_of(check->length - check->received), MSG_DONTWAIT);
    if (got == 0) errno = 0;
    if (got <= 0) return got < 0 && errno == EAGAIN;
    const unsigned char *right = stream(check->seed_in, check->received, (size_t)got);
    if (check->wrong_at == CHECK_RIGHT && memcmp(bytes, right, (size_t)got) != 0)
      for (size_t i = 0; i < (size_t)got && check->wrong_at == CHECK_RIGHT; i++)
        if (bytes[i] != right[i]) check->wrong_at = check->received + i;
    check->received += (uint64_t)got;
  }
  return true;
}

/* One tunnel at the client. */
struct checked {
  int fd;
  struct check check;
  /* The server's wrong_at, its last eight bytes. */
  unsigned char verdict[8];
  size_t verdict_size;
  bool done;
};

static void advance(struct checked *tunnel, int epoll, size_t number)
{
  struct check *check = &tunnel->check;
  if (!check_send(check, tunnel->fd) || !check_receive(check, tunnel->fd))
    die("tunnel %zu ended early (%s): sent %llu, received %llu of %llu bytes", number,
        errno == 0 ? "end of file" : strerror(errno), (unsigned long long)check->sent,
        (unsigned long long)check->received, (unsigned long long)check->length);
  if (check->wrong_at != CHECK_RIGHT)
    die("CORRUPT: byte %llu that came back from the server through tunnel %zu is not what was sent",
        (unsigned long long)check->wrong_at, number);
  if (check->sent == check->length) {
    struct epoll_event only_in = {.events = EPOLLIN, .data.u64 = number};
    epoll_ctl(epoll, EPOLL_CTL_MOD, tunnel->fd, &only_in);
  }
  if (check->received < check->length) return;
  const ssize_t got =
    recv(tunnel->fd, tunnel->verdict + tunnel->verdict_size, 8 - tunnel->verdict_size, MSG_DONTWAIT);
  if (got == 0 || (got < 0 && errno != EAGAIN)) die("tunnel %zu ended before the server's verdict", number);
  if (got > 0) tunnel->verdict_size += (size_t)got;
  if (tunnel->verdict_size < 8) return;
  uint64_t wrong_at;
  memcpy(&wrong_at, tunnel->verdict, 8);
  if (wrong_at != CHECK_RIGHT)
    die("CORRUPT: byte %llu that arrived at the server through tunnel %zu is not what was sent",
        (unsigned long long)wrong_at, number);
  tunnel->done = true;
  epoll_ctl(epoll, EPOLL_CTL_DEL, tunnel->fd, NULL);
}

/* --tunnels N --bytes PER_TUNNEL_AND_DIRECTION --seed S */
int check_main(const struct options *options)
{
  const struct route route = route_of(options);
  const size_t count = option_number(options, "--tunnels", 1, 10000);
  const uint64_t length = option_number(options, "--bytes", 1 << 20, 1ull << 40);
  const uint64_t seed = option_number(options, "--seed", 1, UINT64_MAX);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct checked *tunnels = allocate(count, sizeof *tunnels);
  for (size_t i = 0; i < count; i++) {
    struct checked *tunnel = &tunnels[i];
    tunnel->fd = open_tunnel(&route);
    const uint64_t own_seed = seed + i;
    unsigned char order[ORDER_SIZE] = {ORDER_CHECK};
    memcpy(order + 1, &own_seed, 8);
    memcpy(order + 9, &length, 8);
    send_all(tunnel->fd, order, sizeof order);
    make_nonblocking(tunnel->fd);
    tunnel->check = check_of(own_seed, length, false);
    struct epoll_event both = {.events = EPOLLIN | EPOLLOUT, .data.u64 = i};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, tunnel->fd, &both) != 0) die_errno("epoll_ctl");
  }
  for (size_t left = count; left > 0;) {
    struct epoll_event events[64];
    const int ready = epoll_wait(epoll, events, 64, DEADLINE_MS);
    if (ready == 0) die("nothing moved for %d s: %zu of %zu tunnels stand still", DEADLINE_MS / 1000, left, count);
    for (int i = 0; i < ready; i++) {
      struct checked *tunnel = &tunnels[events[i].data.u64];
      advance(tunnel, epoll, (size_t)events[i].data.u64);
      if (tunnel->done) left--;
    }
  }
  say("{\"event\":\"checked\",\"bytes\":%llu}", (unsigned long long)(2 * length * count));
  return 0;
}
