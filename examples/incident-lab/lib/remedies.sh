# What an operator of the lab can do: the remedies that runbooks name, and the restart of a service.
# shellcheck shell=bash

# remedy NAME: each undoes one kind of trouble, and does nothing useful for the others.
remedy() {
    case $1 in
        end-idle-transactions)
            # Whoever has done nothing for 5 s inside a transaction; what was not committed is lost.
            psql -h "$HOST" -p "$POSTGRES" -U postgres -qtAX -c "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE state = 'idle in transaction' AND now() - state_change > interval '5 s'"
            ;;
        roll-back-deploy) roll_back_deploy ;;
        lift-cpu-limit) heal_cpu_starvation ;;
        stop-redis-scan) heal_redis_slow ;;
        switch-database-path) heal_db_network_delay ;;
        raise-volume-limit) heal_db_disk_pressure ;;
        *) die "unknown remedy $1" ;;
    esac
}

# The version before the one that runs, with the usual flags.
roll_back_deploy() {
    if [[ -f $WORK/version-good ]]; then
        heal_bad_deploy
    else
        announce_deploy "${VERSIONS[0]}"
        deploy_api "${VERSIONS[0]}"
    fi
}

# restart SERVICE: stops it and starts it again as it was.
restart() {
    local version
    case $1 in
        gateway)
            stop gateway
            launch_gateway
            ;;
        api)
            # The build stays what it is, its flags too.
            version=$(<"$WORK/version")
            local flags=()
            read -ra flags <"$WORK/api-flags" || true
            stop api
            start_api "$version" "${flags[@]}"
            ;;
        postgres)
            stop postgres INT
            launch_postgres
            ;;
        redis)
            stop redis
            launch_redis
            ;;
        *) log "nobody restarts $1" ;;
    esac
}

# reset: as it was before any fault, restart or remedy.
reset() {
    heal_all
    heal_bad_deploy
    curl -fsS -o /dev/null -X POST "http://$HOST:$API/admin/pool?max=8"
    local keys
    keys=$(redis-cli -p "$REDIS" DBSIZE)
    ((keys > 299000)) || redis-cli -p "$REDIS" DEBUG POPULATE 300000 session 40 >/dev/null
}

# load_step SECONDS FACTOR: more visitors for a while, which harms nobody.
load_step() {
    launch step timeout "$1" "$BIN/lab-load" --target "http://$HOST:$GATEWAY" --seed "$((PLAN_SEED + 1))" \
        --rate "$(awk "BEGIN { print $PLAN_BASE_RATE * ($2 - 1) }")"
}
