#!/usr/bin/env bash
# The source cluster: makes a volume of SIZE_MIB and migrates it as MTC does. Ends with 0 when all of it has arrived,
# and could not have come another way than through the proxy.
set -euo pipefail
cd /srv/migration

say() { printf '  %-11s %s\n' "$1" "$2"; }

fail() {
  say failed "$1"
  # rsync's errors, the proxy's answers, stunnel's errors; not what stunnel sent, for the password is in it.
  {
    cat /tmp/rsync.errors
    grep -E ' <- HTTP|LOG[0-3]\[[0-9]' /tmp/stunnel.log
  } 2>/dev/null | sed 's/^/    | /' || true
  exit 1
}

# Three quarters in one file, the rest in 256 small ones, and what else volumes have.
make_volume() (
  cd /srv/volume
  find . -mindepth 1 -delete
  mkdir -p database 'with spaces/Übersicht' empty
  head -c $((SIZE_MIB * 768))K /dev/urandom >database/disk.img
  head -c $((SIZE_MIB * 256))K /dev/urandom | split -a 3 -d -b "${SIZE_MIB}K" - 'with spaces/Übersicht/'
  ln -s database/disk.img current
  ln 'with spaces/Übersicht/000' 'second name'
  chmod 750 empty
  chmod 400 database/disk.img
)

# One checksum of a whole tree: names, kinds, modes, where links lead, and the contents.
digest() (
  cd "$1"
  {
    find . -printf '%y %m %P -> %l\n' | sort
    find . -type f -print0 | sort -z | xargs -0 sha256sum
  } | sha256sum | cut -d ' ' -f 1
)

echo 'A Direct Volume Migration through spliceway'
nc -z -w 5 proxy 3128 || fail 'the proxy, proxy:3128, does not answer'
for address in $(cat /srv/secrets/target-addresses); do
  if said=$(nc -zv -w 5 "$address" 443 2>&1); then fail "the source reaches the target at $address without the proxy"; fi
  say 'no route' "$said"
done

make_volume
before=$(digest /srv/volume)
say source "$(find /srv/volume -mindepth 1 | wc -l) entries, $SIZE_MIB MiB"

# It goes into the background once it listens. MTC tries it with nc -z before rsync, which opens a tunnel of its own.
stunnel4 stunnel-client.conf >/tmp/stunnel.log 2>&1 || fail 'stunnel does not start'
# Where the proxy refuses at once, nc may notice before it ends.
nc -z localhost 6443 || fail "the probe, and stunnel's log says why:"
say probe 'nc -z localhost 6443 succeeded'

started=${EPOCHREALTIME/./}
RSYNC_PASSWORD=$(cut -d : -f 2 /srv/secrets/rsyncd.secrets) \
  rsync --archive --delete --recursive --hard-links --partial \
  --info=COPY2,DEL2,REMOVE2,SKIP2,FLIST2,PROGRESS2,STATS2 --human-readable \
  --port 6443 /srv/volume/ rsync://root@localhost/volume >/tmp/rsync.log 2>/tmp/rsync.errors ||
  fail "rsync, and stunnel's log says why:"
ms=$(((${EPOCHREALTIME/./} - started) / 1000))
say speed "$SIZE_MIB MiB in $((ms / 1000)).$((ms % 1000 / 100)) s, $((SIZE_MIB * 1000 / (ms + 1))) MiB/s"

# By stunnel's number of the connection: the probe's is 0, and its answer may come second.
tunnels=$(sed -nE 's/.*\[([0-9]+)\]: +<- Spliceway-Tunnel-Id: (\w+).*/\1 \2/p' /tmp/stunnel.log | sort -n | cut -d ' ' -f 2)
say tunnels "${tunnels//$'\n'/, } (the probe, rsync): see the log of the proxy"

after=$(digest /srv/destination)
say source "sha256 $before"
[[ $after == "$before" ]] || fail "arrived: sha256 $after, which differs"
say arrived "sha256 $after (equal)"
