#include "load.h"

#include <stdio.h>
#include <string.h>

static const struct {
  const char *name;
  int (*run)(const struct options *);
} subcommands[] = {
  {"serve", serve_main},           {"wait", wait_main},
  {"check", check_main},           {"bulk", bulk_main},
  {"handshakes", handshakes_main}, {"round-trips", round_trips_main},
  {"idle", idle_main},
};

int main(int argc, char **argv)
{
  const struct options options = {.count = argc - 2, .words = argv + 2};
  for (size_t i = 0; argc > 1 && argc % 2 == 0 && i < sizeof subcommands / sizeof *subcommands; i++)
    if (strcmp(argv[1], subcommands[i].name) == 0) return subcommands[i].run(&options);
  fputs("usage: load serve|wait|check|bulk|handshakes|round-trips|idle [--NAME VALUE]...\n", stderr);
  return 64;
}
