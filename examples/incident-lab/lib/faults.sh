# Injecting and healing. Every fault comes from outside the process that suffers; each function can
# be called on its own (`run.sh inject`, `run.sh heal`) and healing twice does no harm.
# shellcheck shell=bash

# change KIND SERVICE TITLE [LABELS]: one line for changes.jsonl.
change() {
    local labels=${4:-}
    printf '{"time_ms":%s,"kind":"%s","service":"%s","title":"%s","labels":{%s}}\n' \
        "$(now_ms)" "$1" "$2" "$3" "$labels" >>"$WORK/changes.jsonl"
}

# A batch client locks slices of the products table and holds them, idle in its transactions.
# Checkouts of those products wait until their time limit, each with a pooled connection in hand.
inject_pool_exhaustion() {
    local session from to fifo=$WORK/batch.fifo
    rm -f "$fifo"
    mkfifo "$fifo"
    # Holds the pipe open: the sessions read it after their statements, and so stay connected.
    launch batch-holder lab bash -c "exec sleep 3600 >'$fifo'"
    for ((session = 0; session < PLAN_LOCK_SESSIONS; session++)); do
        from=$((session * PLAN_LOCK_PERCENT / PLAN_LOCK_SESSIONS))
        to=$(((session + 1) * PLAN_LOCK_PERCENT / PLAN_LOCK_SESSIONS))
        cat >"$WORK/batch-$session.sql" <<SQL
SET application_name = 'reprice-batch';
BEGIN;
SELECT count(*) FROM (SELECT 1 FROM products WHERE id % 100 >= $from AND id % 100 < $to FOR UPDATE) AS locked;
SQL
        launch "batch-$session" lab psql -h "$HOST" -p "$POSTGRES" -U shop -d shop -qX \
            -f "$WORK/batch-$session.sql" -f "$fifo"
        sleep "$(awk "BEGIN { print $PLAN_LOCK_RAMP_SECONDS / $PLAN_LOCK_SESSIONS }")"
    done
}

heal_pool_exhaustion() {
    local file
    for file in "$WORK"/pid/batch-*; do
        if [[ -e $file ]]; then stop "$(basename "$file")"; fi
    done
    rm -f "$WORK"/batch*
}

# The API's group gets a share of the processor time that it was using. Without the cpu controller
# the process is stopped and continued in turn, which starves it as well, only less smoothly.
measure_cpu_starvation() {
    local file=$CGROUP_ROOT/cpuacct/$CGROUP/api/cpuacct.usage before after
    if have_cgroup cpuacct; then
        before=$(<"$file")
        sleep 10
        after=$(<"$file")
        echo $(((after - before) / 10000 )) >"$WORK/cpu-use" # microseconds a second
    else
        echo 60000 >"$WORK/cpu-use"
    fi
}

inject_cpu_starvation() {
    local use group=$CGROUP_ROOT/cpu/$CGROUP/api pid
    [[ -f $WORK/cpu-use ]] || measure_cpu_starvation
    use=$(<"$WORK/cpu-use")
    if have_cgroup cpu; then
        echo 100000 >"$group/cpu.cfs_period_us"
        # Per period of a tenth of a second; the kernel takes no less than 1 ms.
        local quota=$((use * PLAN_CPU_SHARE_PERCENT / 1000))
        echo $((quota > 1000 ? quota : 1000)) >"$group/cpu.cfs_quota_us"
    else
        pid=$(<"$WORK/pid/api")
        launch starver lab bash -c "while kill -STOP $pid; do sleep 0.09; kill -CONT $pid; sleep 0.01; done"
    fi
}

heal_cpu_starvation() {
    local group=$CGROUP_ROOT/cpu/$CGROUP/api
    if [[ -w $group/cpu.cfs_quota_us ]]; then echo -1 >"$group/cpu.cfs_quota_us"; fi
    if [[ -f $WORK/pid/starver ]]; then
        stop starver
        kill -CONT "$(<"$WORK/pid/api")"
    fi
    rm -f "$WORK/cpu-use"
}

# Someone looks for keys with a script that scans all of them several times a run; Redis has one
# thread, so everybody else waits.
inject_redis_slow() {
    launch redis-scan lab redis-cli -p "$REDIS" -r -1 -i "$(awk "BEGIN { print $PLAN_REDIS_PAUSE_MS / 1000 }")" \
        EVAL "local n = 0 for i = 1, tonumber(ARGV[1]) do n = n + #redis.call('KEYS', '*expired' .. i) end return n" \
        0 "$PLAN_REDIS_SCANS"
}

heal_redis_slow() { stop redis-scan KILL; }

set_delay() { curl -fsS -X POST "http://$HOST:$PROXY_ADMIN/delay?link=$1&ms=$2&jitter_ms=$3"; }

inject_db_network_delay() { set_delay postgres "$PLAN_DELAY_MS" "$PLAN_JITTER_MS"; }

heal_db_network_delay() { if alive proxy; then set_delay postgres 0 0; fi; }

# The database volume serves a few writes a second, as a cloud volume that used up its burst. The
# limit needs the blkio controller; without it a process beside the database keeps forcing its own
# writes to the same volume.
inject_db_disk_pressure() {
    local group=$CGROUP_ROOT/blkio/$CGROUP/postgres
    if have_cgroup blkio && [[ -f $WORK/loop ]]; then
        echo "$(volume_device) $PLAN_WRITE_IOPS" >"$group/blkio.throttle.write_iops_device"
    else
        launch disk-hog lab bash -c \
            "while dd if=/dev/zero of='$WORK/volume/hog' bs=64k count=64 oflag=dsync status=none; do :; done"
    fi
}

volume_device() { lsblk -dno MAJ:MIN "$(<"$WORK/loop")" | tr -d ' '; }

heal_db_disk_pressure() {
    local group=$CGROUP_ROOT/blkio/$CGROUP/postgres
    if [[ -f $WORK/loop && -w $group/blkio.throttle.write_iops_device ]]; then
        echo "$(volume_device) 0" >"$group/blkio.throttle.write_iops_device"
    fi
    stop disk-hog
    rm -f "$WORK/volume/hog"
}

# announce_deploy VERSION: the event that every deploy leaves, good or bad.
announce_deploy() {
    change deploy api "deploy api $1" "\"version\":\"$1\",\"previous\":\"$(<"$WORK/version")\""
}

next_version() {
    if [[ $(<"$WORK/version") == "${VERSIONS[0]}" ]]; then echo "${VERSIONS[1]}"; else echo "${VERSIONS[2]}"; fi
}

# A new build whose detail page reads a great many reviews each time.
inject_bad_deploy() {
    local version
    version=$(next_version)
    cp "$WORK/version" "$WORK/version-good"
    announce_deploy "$version"
    echo "deploy api $version" >"$WORK/root-change"
    deploy_api "$version" --related-scan "$PLAN_RELATED_SCAN"
}

heal_bad_deploy() {
    [[ -f $WORK/version-good ]] || return 0
    local version
    version=$(<"$WORK/version-good")
    rm -f "$WORK/version-good"
    announce_deploy "$version"
    deploy_api "$version"
}

inject_harmless() { :; }
heal_harmless() { :; }

# inject FAULT, heal FAULT
inject() { "inject_${1//-/_}"; }
heal() { "heal_${1//-/_}"; }

# heal_all: leaves nothing of any fault behind; for the end of a run, whatever happened in it.
heal_all() {
    heal_pool_exhaustion
    if [[ -d $CGROUP_ROOT/cpu/$CGROUP/api ]]; then heal_cpu_starvation; fi
    heal_redis_slow
    heal_db_network_delay || true
    heal_db_disk_pressure
}

# routine KIND: an ordinary change of an ordinary day.
routine() {
    local version
    case $1 in
        config)
            change config gateway "reload gateway configuration"
            kill -HUP "$(<"$WORK/pid/gateway")"
            ;;
        deploy)
            version=$(next_version)
            announce_deploy "$version"
            deploy_api "$version"
            ;;
        job)
            change job postgres "nightly backup and analyze"
            launch job lab nice -n 10 bash -c "'$PG_BIN/pg_dump' -h $HOST -p $POSTGRES -U shop -Fc -f '$WORK/backup' shop \
                && psql -h $HOST -p $POSTGRES -U shop -d shop -qX -c 'VACUUM (ANALYZE) products, reviews, orders'"
            ;;
        *) die "unknown routine change $1" ;;
    esac
}
