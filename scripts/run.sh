#!/bin/sh
# What `make run` does: starts the daemon on the Docker engine in observe mode, or where none answers on the simulated one.
# Everything it writes is in .run, so that it needs no root and touches no installed guardian. Ends with Ctrl-C.
set -eu
cd "$(dirname "$0")/.."
[ -x .venv/bin/guardian ] || { echo "$0: needs .venv, which \`make run\` makes: use that" >&2; exit 1; }
listen=${GUARDIAN_LISTEN:-127.0.0.1:9877}
mkdir -p .run

if .venv/bin/python -c 'import sys; from guardian.engine.connect import reachable; sys.exit(not reachable("auto"))'; then
  engine="the Docker engine at ${DOCKER_HOST:-the local socket}, in observe mode: it decides and reports, and stops nothing"
  set -- --mode observe
  state=.run/docker
  next="bring up the reference platform: make standin && docker compose -f config/compose.reference.yml up -d"
else
  engine="the simulated engine with the overload scenario, in enforce mode: no Docker engine answers at ${DOCKER_HOST:-the local socket}"
  set -- --engine simulated --scenario overload --mode enforce
  state=.run/simulated
  rm -rf "$state" # its world begins anew with each start, and so must what guardian remembers of it
  next="watch it shed and restore: watch -n1 .venv/bin/guardian status --control .run/control.sock"
fi
cat <<END
guardian runs on $engine.

  page     http://$listen/
  status   .venv/bin/guardian status --control .run/control.sock
  metrics  http://$listen/metrics
  history  .venv/bin/guardian history --control .run/control.sock
  demo     the same overload with the kernel alone and with guardian, in 90 seconds: .venv/bin/guardian demo --listen 127.0.0.1:0
  next     $next
  end      Ctrl-C; what it remembers is in $state
END
exec .venv/bin/guardian run --config config/guardian.yaml --state-dir "$state" --control .run/control.sock --listen "$listen" --log-format console "$@"
