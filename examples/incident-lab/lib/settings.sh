# Ports, places and programs of one lane. Sourced by run.sh after SLOT and WORK are known.
# shellcheck shell=bash disable=SC2034

HOST=127.0.0.1
BASE_PORT=$((21000 + SLOT * 50))
GATEWAY=$((BASE_PORT + 0))
API=$((BASE_PORT + 1))
PROXY_PG=$((BASE_PORT + 2))
PROXY_REDIS=$((BASE_PORT + 3))
PROXY_ADMIN=$((BASE_PORT + 4))
POSTGRES=$((BASE_PORT + 5))
REDIS=$((BASE_PORT + 6))
PROMETHEUS=$((BASE_PORT + 7))
NODE_EXPORTER=$((BASE_PORT + 8))
NGINX_EXPORTER=$((BASE_PORT + 9))
POSTGRES_EXPORTER=$((BASE_PORT + 10))
REDIS_EXPORTER=$((BASE_PORT + 11))
EXPORTER=$((BASE_PORT + 12))
SYSLOG=$((BASE_PORT + 13))
ALERTMANAGER=$((BASE_PORT + 14))
SERVICE_PORT=$((BASE_PORT + 15))
OPERATOR=$((BASE_PORT + 16))

# A lane lives on one core; lanes share cores only when there are more lanes than cores.
CORE=$((SLOT % $(nproc)))
OTHER_CORES=$(seq 0 $(($(nproc) - 1)) | grep -vx "$CORE" | paste -sd'|' || true)
CGROUP=incident-lab-$SLOT
CGROUP_ROOT=/sys/fs/cgroup
PG_BIN=/usr/lib/postgresql/15/bin

PACKAGES=(nginx-light redis-server redis-tools postgresql-15 postgresql-client-15 prometheus
    prometheus-node-exporter prometheus-nginx-exporter prometheus-postgres-exporter
    prometheus-redis-exporter curl)
