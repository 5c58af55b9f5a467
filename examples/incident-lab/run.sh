#!/usr/bin/env bash
# The incident lab: starts a small real system, breaks it on purpose and records what happens.
#
#   run.sh record --fault NAME --seed N --out DIR [--slot K]   one take, start to end
#   run.sh up     --fault NAME --seed N [--slot K]             start the system and leave it running
#   run.sh inject | heal --fault NAME --seed N [--slot K]      on a system that is up
#   run.sh down   [--slot K]                                   stop every process, remove the files
#   run.sh live   --fault NAME --seed N [--slot K]             break it, then act on it: a runbook is
#                                                              approved, executed and verified
#   run.sh outcome --faults N --seed S --out DIR [--slot K]    does anyone recover sooner? Each fault twice,
#                                                              answered by the service and by plain rules
#   run.sh remedy | restart | routine NAME [--slot K]          what an operator can do, on a system that is up
#
# More flags: --normal-seconds, --fault-seconds, --recovery-seconds (all three, for rehearsals),
# For live: --runbook FILE (default raise-pool-limit), --approve NAME (default: the terminal is asked),
# --expect succeeded|rolled_back|... (default: any end).
# For outcome: --service FILE (default: built here), --share I/N (default 1/1: these of the episodes; run the
# others at the same time in another slot, or later into the same DIR).
# --warmup-seconds (default 60), --bin DIR (default: built here with cargo, release).
# Faults, limits and the recording format: README.md here and ../data/README.md.
set -euo pipefail

LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

COMMAND=${1:-help}
shift || true
NAME=''
case $COMMAND in remedy | restart | routine) NAME=${1:-} && shift || true ;; esac
SLOT=0 FAULT='' SEED=1 OUT='' BIN='' PAUSE_PID='' WARMUP_SECONDS=60 PHASES=() ACT=() PROMETHEUS_EXTRA=''
FAULTS=24 SERVICE='' SHARE=1/1
RUNBOOK=$LAB/../runbooks/raise-pool-limit.yaml
while (($#)); do
    (($# > 1)) || { usage >&2; exit 2; }
    case $1 in
        --slot) SLOT=$2 ;;
        --fault) FAULT=$2 ;;
        --seed) SEED=$2 ;;
        --out) OUT=$2 ;;
        --bin) BIN=$2 ;;
        --warmup-seconds) WARMUP_SECONDS=$2 ;;
        --faults) FAULTS=$2 ;;
        --service) SERVICE=$2 ;;
        --share) SHARE=$2 ;;
        --runbook) RUNBOOK=$2 ;;
        --approve | --expect) ACT+=("$1" "$2") ;;
        --normal-seconds | --fault-seconds | --recovery-seconds) PHASES+=("$1" "$2") ;;
        *) usage >&2; exit 2 ;;
    esac
    shift 2
done
[[ $SLOT =~ ^[0-9]$ ]] || { echo "--slot is a digit" >&2; exit 2; }
WORK=${LAB_WORK:-${TMPDIR:-/tmp}}/incident-lab-$SLOT

# shellcheck source=lib/settings.sh
source "$LAB/lib/settings.sh"
# shellcheck source=lib/services.sh
source "$LAB/lib/services.sh"
# shellcheck source=lib/faults.sh
source "$LAB/lib/faults.sh"
# shellcheck source=lib/remedies.sh
source "$LAB/lib/remedies.sh"

install_missing() {
    local package missing=()
    for package in "${PACKAGES[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    log "installing from the distribution: ${missing[*]}"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
}

prepare() {
    [[ $(id -u) == 0 ]] || die "needs root: control groups, a volume, and PostgreSQL under its own user"
    install_missing
    if [[ -z $BIN ]]; then
        (cd "$LAB" && cargo build --quiet --release -p aiops-incident-lab)
        BIN=$(cd "$LAB" && cargo metadata --format-version 1 --no-deps \
            | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release
    fi
    # The plan is text that we made ourselves; see `Plan::shell`.
    eval "$("$BIN/lab" plan --fault "$FAULT" --seed "$SEED" "${PHASES[@]}")"
    read -ra VERSIONS <<<"$PLAN_VERSIONS"
}

# pause SECONDS: sleeps so that a signal is heeded at once, not at the end.
pause() {
    sleep "$1" &
    PAUSE_PID=$!
    wait "$PAUSE_PID"
    PAUSE_PID=''
}

sleep_until() { # seconds since the epoch
    local left=$(($1 * 1000 - $(now_ms)))
    if ((left > 0)); then pause "$((left / 1000)).$(printf %03d $((left % 1000)))"; fi
}

record() {
    [[ -n $OUT ]] || die "--out DIR is missing"
    [[ ! -e $WORK/pid ]] || die "lane $SLOT is in use ($WORK/pid exists); 'run.sh down --slot $SLOT' frees it"
    local start fault_at heal_at end fault_ms heal_ms event
    local routine_pid=''
    # shellcheck disable=SC2154 # set by the time the trap runs
    trap 'kill $routine_pid $PAUSE_PID 2>/dev/null || true; lab_down' EXIT
    trap 'exit 130' INT TERM
    lab_up
    log "warming up for $WARMUP_SECONDS s"
    pause "$WARMUP_SECONDS"
    start=$(($(date +%s) + 1))
    fault_at=$((start + PLAN_NORMAL_SECONDS))
    heal_at=$((fault_at + PLAN_FAULT_SECONDS))
    end=$((heal_at + PLAN_RECOVERY_SECONDS))
    log "recording $((end - start)) s, fault at +$PLAN_NORMAL_SECONDS s for $PLAN_FAULT_SECONDS s"
    (
        # Routine changes keep their own time, in the fault too.
        trap 'kill $PAUSE_PID 2>/dev/null; exit' TERM
        for event in $PLAN_ROUTINE; do
            sleep_until $((start + ${event%%:*}))
            routine "${event##*:}"
        done
    ) &
    routine_pid=$!
    if [[ $FAULT == cpu-starvation ]]; then
        sleep_until $((fault_at - 12))
        measure_cpu_starvation
    fi
    sleep_until "$fault_at"
    fault_ms=$(now_ms)
    inject "$FAULT"
    log "injected"
    sleep_until "$heal_at"
    heal_ms=$(now_ms)
    heal "$FAULT"
    log "healed"
    sleep_until "$end"
    # Two more seconds, so that the last scrapes are in.
    sleep 2
    kill "$routine_pid" 2>/dev/null || true
    "$BIN/lab" export --prometheus "http://$HOST:$PROMETHEUS" --out "$OUT" --fault "$FAULT" --seed "$SEED" \
        --start-ms "$((start * 1000))" --end-ms "$((end * 1000))" --fault-start-ms "$fault_ms" \
        --fault-end-ms "$heal_ms" --changes "$WORK/changes.jsonl" \
        ${PLAN_RELATED_SCAN:+--root-change "$(<"$WORK/root-change")"} \
        --recorded-with "$(recorded_with)"
    stop load
    log "the client counted: $(<"$WORK/log/load.log")"
    log "recorded into $OUT"
}

# live: breaks the running system and lets a runbook be approved, executed and verified on it.
live() {
    [[ ! -e $WORK/pid ]] || die "lane $SLOT is in use ($WORK/pid exists); 'run.sh down --slot $SLOT' frees it"
    trap 'kill $PAUSE_PID 2>/dev/null || true; lab_down' EXIT
    trap 'exit 130' INT TERM
    lab_up
    log "warming up for $WARMUP_SECONDS s"
    pause "$WARMUP_SECONDS"
    inject "$FAULT"
    log "injected"
    "$BIN/lab-act" --prometheus "http://$HOST:$PROMETHEUS" --api "http://$HOST:$API" --runbook "$RUNBOOK" \
        --store "$WORK/act.redb" "${ACT[@]}" || ACTED=$?
    heal "$FAULT"
    log "healed"
}

# outcome: a system that stays up, watched by the service and by Prometheus with Alertmanager; the driver
# breaks it again and again and lets one of the two answer.
outcome() {
    [[ -n $OUT ]] || die "--out DIR is missing"
    [[ ! -e $WORK/pid ]] || die "lane $SLOT is in use ($WORK/pid exists); 'run.sh down --slot $SLOT' frees it"
    # The names of the recorded series.
    RECORDED=$(sed -n 's/^    ("\([A-Za-z0-9_:]*\)", .*/\1/p' "$LAB/src/export/selection.rs" | paste -sd'|')
    PROMETHEUS_EXTRA=$(fill_text outcome/prometheus-extra.yml)
    trap 'kill $PAUSE_PID 2>/dev/null || true; lab_down' EXIT
    trap 'exit 130' INT TERM
    lab_up
    fill_text outcome/alertmanager.yml >"$WORK/alertmanager.yml"
    launch alertmanager lab prometheus-alertmanager --config.file="$WORK/alertmanager.yml" \
        --storage.path="$WORK/alertmanager" --cluster.listen-address= --web.listen-address="$HOST:$ALERTMANAGER"
    mkdir -p "$WORK/runbooks"
    local file
    for file in "$LAB"/outcome/runbooks/*.yaml; do
        fill_text "outcome/runbooks/$(basename "$file")" >"$WORK/runbooks/$(basename "$file")"
    done
    python3 "$LAB/outcome/outcome.py" --lab "$LAB/run.sh" --bin "$BIN" --service "$SERVICE" --slot "$SLOT" \
        --work "$WORK" --faults "$FAULTS" --seed "$SEED" --share "$SHARE" --out "$OUT" \
        --prometheus "http://$HOST:$PROMETHEUS" --alertmanager "http://$HOST:$ALERTMANAGER" \
        --listen "$SERVICE_PORT" --operator "$OPERATOR" &
    PAUSE_PID=$!
    wait "$PAUSE_PID"
    PAUSE_PID=''
}

# recorded_with: versions and machine, as JSON.
recorded_with() {
    version_of() { dpkg-query -W -f '${Version}' "$1"; }
    printf '{"cores":%s,"lane_cores":1,"kernel":"%s","warmup_seconds":%s' "$(nproc)" "$(uname -r | cut -d- -f1)" "$WARMUP_SECONDS"
    local package
    for package in nginx-light redis-server postgresql-15 prometheus prometheus-node-exporter \
        prometheus-nginx-exporter prometheus-postgres-exporter prometheus-redis-exporter; do
        printf ',"%s":"%s"' "$package" "$(version_of "$package")"
    done
    printf '}'
}

case $COMMAND in
    record)
        prepare
        record
        lab_down
        trap - EXIT
        rm -rf "$WORK"
        ;;
    up)
        prepare
        [[ ! -e $WORK/pid ]] || die "lane $SLOT is in use ($WORK/pid exists); 'run.sh down --slot $SLOT' frees it"
        trap 'lab_down' EXIT
        lab_up
        trap - EXIT
        ;;
    live)
        prepare
        ACTED=0
        live
        lab_down
        trap - EXIT
        rm -rf "$WORK"
        exit "$ACTED"
        ;;
    outcome)
        FAULT=harmless
        PACKAGES+=(prometheus-alertmanager python3)
        prepare
        if [[ -z $SERVICE ]]; then
            (cd "$LAB" && cargo build --quiet --release -p aiops-service)
            SERVICE=$BIN/aiops-service
        fi
        outcome
        lab_down
        trap - EXIT
        rm -rf "$WORK"
        ;;
    inject | heal)
        prepare
        # When it really begins: what went before may have taken a while.
        now_ms
        "$COMMAND" "$FAULT"
        ;;
    measure | reset)
        prepare
        if [[ $COMMAND == measure ]]; then measure_cpu_starvation; else reset; fi
        ;;
    remedy | restart | routine)
        prepare
        "$COMMAND" "$NAME"
        ;;
    load-step)
        prepare
        load_step 60 1.4
        ;;
    down)
        lab_down
        rm -rf "$WORK"
        ;;
    *)
        usage
        ;;
esac
