# Starting and stopping the lab's processes, always by their own process id.
# shellcheck shell=bash

log() { printf '%s lane %s: %s\n' "$(date -u +%T)" "$SLOT" "$*" >&2; }

die() {
    log "error: $*"
    exit 1
}

now_ms() { date +%s%3N; }

have_cgroup() { [[ -w $CGROUP_ROOT/$1/cgroup.procs ]]; }

# launch NAME GROUP COMMAND...: runs a process on the lane's core, in its service's control groups.
launch() {
    local name=$1 group=$2 controller
    shift 2
    (
        for controller in cpu cpuacct memory blkio; do
            if have_cgroup "$controller"; then
                mkdir -p "$CGROUP_ROOT/$controller/$CGROUP/$group"
                # A lane outweighs whatever else runs on its core. Nice values would not do: with
                # autogroups every session weighs the same, idle priority inside it or not.
                [[ $controller != cpu ]] || echo 131072 >"$CGROUP_ROOT/cpu/$CGROUP/cpu.shares"
                echo "$BASHPID" >"$CGROUP_ROOT/$controller/$CGROUP/$group/cgroup.procs"
            fi
        done
        exec setsid taskset -c "$CORE" "$@" </dev/null
    ) >"$WORK/log/$name.log" 2>&1 &
    echo $! >"$WORK/pid/$name"
}

alive() { [[ -f $WORK/pid/$1 ]] && kill -0 "$(<"$WORK/pid/$1")" 2>/dev/null; }

# stop NAME [SIGNAL]: asks, waits up to 10 s, then insists.
stop() {
    local name=$1 signal=${2:-TERM} pid tries
    [[ -f $WORK/pid/$name ]] || return 0
    pid=$(<"$WORK/pid/$name")
    kill "-$signal" "$pid" 2>/dev/null || true
    for ((tries = 0; tries < 100; tries++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$WORK/pid/$name"
}

# wait_for WHAT COMMAND...: until the command succeeds, at most 30 s.
wait_for() {
    local what=$1 tries
    shift
    for ((tries = 0; tries < 150; tries++)); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.2
    done
    die "$what did not come up; see $WORK/log"
}

fetches() { curl -fsS -m 2 -o /dev/null "$1"; }

# fill FILE: the configuration with this lane's ports and places.
fill() { fill_text "config/$1" >"$WORK/$1"; }

# fill_text FILE: prints it, filled in.
fill_text() {
    local name text
    text=$(<"$LAB/$1")
    for name in WORK GATEWAY API PROMETHEUS NODE_EXPORTER NGINX_EXPORTER POSTGRES_EXPORTER \
        REDIS_EXPORTER EXPORTER SYSLOG PGDATA_DEVICE OTHER_CORES ALERTMANAGER SERVICE_PORT OPERATOR RECORDED; do
        text=${text//@$name@/${!name:-}}
    done
    printf '%s\n' "$text"
}

as_postgres() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }

sql() { psql -h "$HOST" -p "$POSTGRES" -U shop -d shop -qtAX -v ON_ERROR_STOP=1 "$@"; }

# The database gets a volume of its own (a file system in a file), so that its disk can be throttled
# and watched apart from the machine's. Without loop devices it uses a plain directory.
make_volume() {
    mkdir -p "$WORK/volume"
    PGDATA_DEVICE=none
    if truncate -s 1500M "$WORK/volume.img" && mkfs.ext4 -q "$WORK/volume.img" \
        && LOOP=$(losetup -f --show "$WORK/volume.img" 2>/dev/null); then
        mount "$LOOP" "$WORK/volume"
        PGDATA_DEVICE=$(basename "$LOOP")
        echo "$LOOP" >"$WORK/loop"
    else
        log "no loop device: the database shares the machine's disk"
    fi
    chown postgres:postgres "$WORK/volume"
}

drop_volume() {
    if [[ -f $WORK/loop ]]; then
        umount "$WORK/volume" || true
        losetup -d "$(<"$WORK/loop")" || true
        rm -f "$WORK/loop" "$WORK/volume.img"
    fi
}

start_postgres() {
    local data=$WORK/volume/data
    as_postgres "$PG_BIN/initdb" -D "$data" -A trust -U postgres --no-sync >"$WORK/log/initdb.log"
    launch_postgres
    psql -h "$HOST" -p "$POSTGRES" -U postgres -qX -v ON_ERROR_STOP=1 \
        -c "CREATE ROLE shop LOGIN" -c "CREATE ROLE monitor LOGIN IN ROLE pg_monitor" \
        -c "CREATE DATABASE shop OWNER shop"
    sql -f "$LAB/config/schema.sql"
}

launch_postgres() {
    local data=$WORK/volume/data
    launch postgres postgres setpriv --reuid postgres --regid postgres --init-groups \
        "$PG_BIN/postgres" -D "$data" -p "$POSTGRES" -c listen_addresses="$HOST" \
        -c unix_socket_directories= -c max_connections=50 -c shared_buffers=64MB \
        -c track_io_timing=on -c track_wal_io_timing=on -c jit=off \
        -c max_parallel_workers_per_gather=0 -c log_min_messages=error
    wait_for PostgreSQL "$PG_BIN/pg_isready" -q -h "$HOST" -p "$POSTGRES"
}

start_redis() {
    launch_redis
    # Old sessions, as any shop has them: 300,000 keys that nothing reads.
    redis-cli -p "$REDIS" DEBUG POPULATE 300000 session 40 >/dev/null
}

launch_redis() {
    launch redis redis redis-server --bind "$HOST" --port "$REDIS" --save '' --appendonly no \
        --maxmemory 200mb --maxmemory-policy allkeys-lru --enable-debug-command local
    wait_for Redis redis-cli -p "$REDIS" ping
}

start_proxy() {
    launch proxy lab "$BIN/lab-proxy" --admin "$HOST:$PROXY_ADMIN" \
        --link "postgres=$HOST:$PROXY_PG=$HOST:$POSTGRES" --link "redis=$HOST:$PROXY_REDIS=$HOST:$REDIS"
    sleep 0.3
}

# start_api VERSION [FLAGS...]
start_api() {
    local version=$1
    shift
    launch api api "$BIN/lab-api" --listen "$HOST:$API" --postgres "$HOST:$PROXY_PG" \
        --redis "$HOST:$PROXY_REDIS" --version "$version" "$@"
    echo "$version" >"$WORK/version"
    echo "$*" >"$WORK/api-flags"
}

# deploy_api VERSION [FLAGS...]: the new build takes over the port, then the old one drains.
deploy_api() {
    mv "$WORK/pid/api" "$WORK/pid/api-old"
    start_api "$@"
    sleep 0.7
    stop api-old
}

start_gateway() {
    mkdir -p "$WORK/nginx-tmp"
    fill nginx.conf
    launch_gateway
}

launch_gateway() {
    launch gateway gateway nginx -c "$WORK/nginx.conf"
    wait_for nginx fetches "http://$HOST:$GATEWAY/status"
}

start_exporters() {
    launch node-exporter lab prometheus-node-exporter --web.listen-address="$HOST:$NODE_EXPORTER" \
        --collector.disable-defaults --collector.cpu --collector.loadavg --collector.meminfo \
        --collector.diskstats --collector.netdev --collector.filefd --collector.stat --collector.vmstat \
        --collector.diskstats.device-exclude= --collector.diskstats.device-include="^($PGDATA_DEVICE|[sv]da|nvme0n1)\$" \
        --collector.netdev.device-exclude='^lo$'
    launch nginx-exporter lab prometheus-nginx-exporter -web.listen-address "$HOST:$NGINX_EXPORTER" \
        -nginx.scrape-uri "http://$HOST:$GATEWAY/status"
    DATA_SOURCE_NAME="postgresql://monitor@$HOST:$POSTGRES/shop?sslmode=disable" \
        launch postgres-exporter lab prometheus-postgres-exporter \
        --web.listen-address="$HOST:$POSTGRES_EXPORTER" --disable-settings-metrics \
        --extend.query-path="$LAB/config/postgres-queries.yml"
    launch redis-exporter lab prometheus-redis-exporter -web.listen-address "$HOST:$REDIS_EXPORTER" \
        -redis.addr "redis://$HOST:$REDIS"
    launch exporter lab "$BIN/lab-exporter" --listen "$HOST:$EXPORTER" --syslog "$HOST:$SYSLOG" \
        --cgroup "$CGROUP" --service gateway --service api --service postgres --service redis \
        --probe "gateway=http=$HOST:$GATEWAY" --probe "api=http=$HOST:$API" \
        --probe "postgres=postgres=$HOST:$PROXY_PG" --probe "redis=redis=$HOST:$PROXY_REDIS"
}

start_prometheus() {
    fill prometheus.yml
    # Where samples and alerts go besides, for those who answer them.
    printf '%s\n' "$PROMETHEUS_EXTRA" >>"$WORK/prometheus.yml"
    cp "$LAB/config/rules.yml" "$WORK/rules.yml"
    launch prometheus lab prometheus --config.file="$WORK/prometheus.yml" \
        --storage.tsdb.path="$WORK/tsdb" --web.listen-address="$HOST:$PROMETHEUS"
    wait_for Prometheus fetches "http://$HOST:$PROMETHEUS/-/ready"
}

# start_load: the plan's load, for as long as the lab is up.
start_load() {
    launch load load "$BIN/lab-load" --target "http://$HOST:$GATEWAY" --seed "$PLAN_SEED" \
        --rate "$PLAN_BASE_RATE" --step-at "$((PLAN_STEP_AT + WARMUP_SECONDS))" \
        --step-seconds "$PLAN_STEP_SECONDS" --step-factor "$PLAN_STEP_FACTOR"
}

lab_up() {
    # Left over from a run that failed: its logs were kept until now.
    rm -rf "$WORK"
    mkdir -p "$WORK"/{log,pid}
    chmod 755 "$WORK"
    : >"$WORK/changes.jsonl"
    make_volume
    start_postgres
    start_redis
    start_proxy
    start_api "${VERSIONS[0]}"
    wait_for "the API" fetches "http://$HOST:$API/version"
    start_gateway
    start_exporters
    start_prometheus
    start_load
    log "up: gateway http://$HOST:$GATEWAY, Prometheus http://$HOST:$PROMETHEUS, files in $WORK"
}

lab_down() {
    local name controller group
    [[ -d $WORK/pid ]] || return 0
    heal_all
    for name in step load prometheus alertmanager exporter redis-exporter postgres-exporter nginx-exporter \
        node-exporter gateway api api-old proxy redis; do
        stop "$name"
    done
    stop postgres INT
    drop_volume
    for controller in cpu cpuacct memory blkio; do
        for group in "$CGROUP_ROOT/$controller/$CGROUP"/*/ "$CGROUP_ROOT/$controller/$CGROUP"; do
            if [[ -d $group ]]; then rmdir "$group" 2>/dev/null || true; fi
        done
    done
    rm -rf "$WORK/pid"
    log "down"
}
