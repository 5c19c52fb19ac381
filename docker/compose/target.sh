#!/usr/bin/env bash
# The target cluster: a router that goes by SNI, behind it the Stunnel server, behind that rsync's daemon.
set -euo pipefail
trap 'exit 0' TERM INT
cd /srv/migration

# In MTC the controller invents these, and gives them to both clusters. Not a service of its own: with --exit-code-from
# the first that ends, ends all.
umask 077
subject='/C=US/ST=NC/L=RDU/O=Migration Engineering/OU=Engineering/CN=openshift.io'
openssl req -x509 -newkey rsa:2048 -nodes -days 7 -subj "$subject" \
  -keyout /srv/secrets/tls.key -out /srv/secrets/tls.crt 2>/tmp/openssl.log || {
  cat /tmp/openssl.log
  exit 1
}
echo "root:$(openssl rand -hex 16)" >/srv/secrets/rsyncd.secrets
# For the source to see that it cannot go there.
hostname -I >/srv/secrets/target-addresses

# Of an earlier run.
find /srv/volume -mindepth 1 -delete

rsync --daemon --no-detach --config=rsyncd.conf --port=2222 --address=127.0.0.1 &
stunnel4 stunnel-server.conf >/tmp/stunnel.log 2>&1 &
haproxy -db -f haproxy.cfg &

# All of them run until they are stopped.
wait -n || true
cat /tmp/stunnel.log
echo 'target: rsync, stunnel or haproxy ended; the lines above say why'
exit 1
