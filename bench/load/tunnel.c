#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void base64(char *to, const char *from)
{
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const size_t size = strlen(from);
  for (size_t i = 0; i < size; i += 3) {
    const uint32_t a = (unsigned char)from[i];
    const uint32_t b = i + 1 < size ? (unsigned char)from[i + 1] : 0;
    const uint32_t c = i + 2 < size ? (unsigned char)from[i + 2] : 0;
    const uint32_t bits = a << 16 | b << 8 | c;
    *to++ = alphabet[bits >> 18];
    *to++ = alphabet[bits >> 12 & 63];
    *to++ = i + 1 < size ? alphabet[bits >> 6 & 63] : '=';
    *to++ = i + 2 < size ? alphabet[bits & 63] : '=';
  }
  *to = '\0';
}

struct route route_of(const struct options *options)
{
  const struct sockaddr_in target = option_address(options, "--target");
  struct route route = {.first = target};
  if (option(options, "--via") != NULL) route.first = option_address(options, "--via");
  if (option(options, "--proxy") == NULL) return route;
  route.first = option_address(options, "--proxy");
  const char *user = option(options, "--auth");
  if (user == NULL || strlen(user) > 128) die("--proxy wants --auth USER:PASSWORD of at most 128 characters");
  char host[INET_ADDRSTRLEN], credentials[200];
  inet_ntop(AF_INET, &target.sin_addr, host, sizeof host);
  base64(credentials, user);
  const unsigned port = ntohs(target.sin_port);
  const int size = snprintf(route.request, sizeof route.request,
                            "CONNECT %s:%u HTTP/1.1\r\nHost: %s:%u\r\nProxy-Authorization: Basic %s\r\n\r\n", host,
                            port, host, port, credentials);
  route.request_size = (size_t)size;
  return route;
}

int tcp_socket(bool nonblocking)
{
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), IPPROTO_TCP);
  if (fd < 0) die_errno("socket");
  const int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  return fd;
}

int reply_state(const char *reply, size_t size)
{
  static const char http[] = "HTTP/1.";
  const size_t known = size < sizeof http - 1 ? size : sizeof http - 1;
  if (memcmp(reply, http, known) != 0) return -1;
  if (size >= 12 && memcmp(reply + 8, " 200", 4) != 0) return -1;
  const char *end = memmem(reply, size, "\r\n\r\n", 4);
  if (end == NULL) return size < REPLY_MOST ? 0 : -1;
  return end + 4 == reply + size ? 1 : -1;
}

static void await_reply(int fd)
{
  char reply[REPLY_MOST + 1];
  size_t size = 0;
  for (;;) {
    const ssize_t got = recv(fd, reply + size, REPLY_MOST - size, 0);
    if (got < 0) die_errno("no reply from the proxy");
    size += (size_t)got;
    reply[size] = '\0';
    const int state = reply_state(reply, size);
    if (state == 1) return;
    if (state < 0 || got == 0) die("the proxy refused a tunnel: %.*s", (int)strcspn(reply, "\r\n"), reply);
  }
}

int open_tunnel(const struct route *route)
{
  const int fd = tcp_socket(false);
  const struct timeval deadline = {.tv_sec = DEADLINE_MS / 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
  if (connect(fd, (const struct sockaddr *)&route->first, sizeof route->first) != 0) die_errno("connect");
  if (route->request_size > 0) {
    send_all(fd, route->request, route->request_size);
    await_reply(fd);
  }
  return fd;
}

void make_nonblocking(int fd)
{
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) die_errno("fcntl");
}

void send_all(int fd, const void *bytes, size_t size)
{
  for (const char *at = bytes; size > 0;) {
    const ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
    if (sent < 0) die_errno("send");
    at += sent;
    size -= (size_t)sent;
  }
}

void receive_all(int fd, void *bytes, size_t size)
{
  const ssize_t got = recv(fd, bytes, size, MSG_WAITALL);
  if (got < 0) die_errno("recv");
  if ((size_t)got != size) die("a tunnel ended after %zd of %zu bytes", got, size);
}

const unsigned char *block(void)
{
  static unsigned char bytes[BLOCK];
  if (bytes[0] == 0) {
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; i < BLOCK; i++) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      bytes[i] = (unsigned char)(state >> 32);
    }
    bytes[0] = 1;
  }
  return bytes;
}

ssize_t discard(int fd)
{
  static char nowhere[1];
  /* tcp(7): with MSG_TRUNC the bytes are discarded and nothing is written to the buffer. */
  return recv(fd, nowhere, BLOCK, MSG_TRUNC | MSG_DONTWAIT);
}
