//! What the normaliser makes of names that real exporters use.
#![allow(clippy::unwrap_used, reason = "a test may")]

use aiops_core::{Harm, MetricClass, MetricKind, Sample, SeriesKey, Timestamp, Unit};
use aiops_observe::{Declared, Form, NormaliserConfig, SeriesInfo};

fn info(name: &str, labels: &[(&str, &str)], form: Form, unit: &str) -> SeriesInfo {
    let mut normaliser = NormaliserConfig::default().build().unwrap();
    let key = SeriesKey::new(name, labels.iter().copied().collect::<aiops_core::Labels>());
    let id = normaliser.resolve_key(&key, Declared { form, unit }).unwrap();
    *normaliser.info(id).unwrap()
}

const GAUGE: Form = Form::Gauge;
const COUNTER: Form = Form::Counter;
const UNKNOWN: Form = Form::Unknown;

use Harm::{Both, Down, Up};
use MetricKind::*;

type Case = (&'static str, &'static [(&'static str, &'static str)], Form, MetricKind, Unit, Harm);

#[test]
fn node_exporter() {
    let cases: &[Case] = &[
        ("node_cpu_seconds_total", &[("mode", "user")], COUNTER, Cpu, Unit::Ratio, Up),
        ("node_cpu_seconds_total", &[("mode", "iowait")], UNKNOWN, Cpu, Unit::Ratio, Up),
        ("node_cpu_seconds_total", &[("mode", "idle")], UNKNOWN, Cpu, Unit::Ratio, Down),
        ("node_memory_MemAvailable_bytes", &[], GAUGE, Memory, Unit::Bytes, Down),
        ("node_memory_MemFree_bytes", &[], UNKNOWN, Memory, Unit::Bytes, Down),
        ("node_memory_Cached_bytes", &[], GAUGE, Memory, Unit::Bytes, Both),
        ("node_memory_MemTotal_bytes", &[], GAUGE, Other, Unit::Bytes, Both),
        ("node_load1", &[], GAUGE, Saturation, Unit::Count, Up),
        ("node_disk_io_time_seconds_total", &[], COUNTER, Saturation, Unit::Ratio, Up),
        ("node_disk_write_time_seconds_total", &[], COUNTER, Latency, Unit::Ratio, Up),
        ("node_disk_written_bytes_total", &[], COUNTER, Throughput, Unit::BytesPerSecond, Both),
        ("node_network_receive_bytes_total", &[], COUNTER, Throughput, Unit::BytesPerSecond, Both),
        ("node_network_receive_drop_total", &[], COUNTER, Errors, Unit::PerSecond, Up),
        ("node_netstat_Tcp_RetransSegs", &[], COUNTER, Errors, Unit::PerSecond, Up),
        ("node_filesystem_avail_bytes", &[], GAUGE, Saturation, Unit::Bytes, Down),
        ("node_pressure_cpu_waiting_seconds_total", &[], COUNTER, Cpu, Unit::Ratio, Up),
        ("node_boot_time_seconds", &[], GAUGE, Other, Unit::Seconds, Both),
        ("node_procs_blocked", &[], GAUGE, Saturation, Unit::Count, Up),
    ];
    check(cases);
}

#[test]
fn postgres_redis_and_nginx_exporters() {
    let cases: &[Case] = &[
        ("pg_stat_activity_count", &[("state", "active")], GAUGE, Saturation, Unit::Count, Up),
        ("pg_sessions_waiting_for_lock", &[], GAUGE, Saturation, Unit::Count, Up),
        ("pg_transactions_oldest_seconds", &[], GAUGE, Latency, Unit::Seconds, Up),
        ("pg_stat_database_xact_commit", &[], COUNTER, Throughput, Unit::PerSecond, Down),
        ("pg_stat_database_xact_rollback", &[], COUNTER, Errors, Unit::PerSecond, Up),
        ("pg_stat_database_deadlocks", &[], COUNTER, Errors, Unit::PerSecond, Up),
        ("pg_wal_sync_seconds", &[], COUNTER, Latency, Unit::Ratio, Up),
        ("pg_settings_max_connections", &[], GAUGE, Other, Unit::None, Both),
        ("pg_locks_count", &[], GAUGE, Saturation, Unit::Count, Up),
        ("pg_up", &[], GAUGE, Availability, Unit::Ratio, Down),
        ("redis_up", &[], GAUGE, Availability, Unit::Ratio, Down),
        ("redis_connected_clients", &[], GAUGE, Saturation, Unit::Count, Up),
        ("redis_memory_used_bytes", &[], GAUGE, Memory, Unit::Bytes, Up),
        ("redis_memory_max_bytes", &[], GAUGE, Other, Unit::Bytes, Both),
        ("redis_commands_processed_total", &[], COUNTER, Throughput, Unit::PerSecond, Down),
        ("redis_evicted_keys_total", &[], COUNTER, Saturation, Unit::PerSecond, Up),
        ("redis_cpu_sys_seconds_total", &[], COUNTER, Cpu, Unit::Ratio, Up),
        ("redis_rejected_connections_total", &[], COUNTER, Errors, Unit::PerSecond, Up),
        ("nginx_connections_active", &[], GAUGE, Saturation, Unit::Count, Up),
        ("nginx_connections_accepted", &[], COUNTER, Throughput, Unit::PerSecond, Down),
        ("nginx_http_requests_total", &[], COUNTER, Throughput, Unit::PerSecond, Down),
        ("nginx_up", &[], GAUGE, Availability, Unit::Ratio, Down),
    ];
    check(cases);
}

#[test]
fn an_instrumented_service_and_its_recording_rules() {
    let cases: &[Case] = &[
        ("up", &[], UNKNOWN, Availability, Unit::Ratio, Down),
        ("probe_success", &[], GAUGE, Availability, Unit::Ratio, Down),
        ("probe_duration_seconds", &[], GAUGE, Latency, Unit::Seconds, Up),
        ("api_requests_total", &[("code", "200")], COUNTER, Throughput, Unit::PerSecond, Down),
        ("api_requests_total", &[("code", "503")], COUNTER, Errors, Unit::PerSecond, Up),
        ("api_errors_total", &[("kind", "pool")], COUNTER, Errors, Unit::PerSecond, Up),
        ("api_timeouts_total", &[], UNKNOWN, Errors, Unit::PerSecond, Up),
        ("api_requests_in_flight", &[], GAUGE, Saturation, Unit::Count, Up),
        ("api_pool_connections_max", &[], GAUGE, Other, Unit::None, Both),
        ("api_pool_connections_in_use", &[], GAUGE, Saturation, Unit::Count, Up),
        ("api_pool_waiting", &[], GAUGE, Saturation, Unit::Count, Up),
        ("api_request_duration_seconds_sum", &[], UNKNOWN, Latency, Unit::Ratio, Up),
        ("api_request_duration_seconds_count", &[], UNKNOWN, Throughput, Unit::PerSecond, Down),
        (
            "api_request_duration_seconds_bucket",
            &[("le", "0.1")],
            UNKNOWN,
            Throughput,
            Unit::PerSecond,
            Both,
        ),
        ("gateway:latency_seconds:p99", &[], GAUGE, Latency, Unit::Seconds, Up),
        ("gateway:error_ratio:10s", &[], GAUGE, Errors, Unit::Ratio, Up),
        ("gateway:requests:rate10s", &[], GAUGE, Throughput, Unit::PerSecond, Down),
        ("api:cache_hit_ratio:10s", &[], GAUGE, Other, Unit::Ratio, Down),
        ("redis:command_seconds:mean10s", &[], GAUGE, Latency, Unit::Seconds, Up),
        ("service_cpu_throttled_seconds_total", &[], COUNTER, Cpu, Unit::Ratio, Up),
        ("service_memory_resident_bytes", &[], GAUGE, Memory, Unit::Bytes, Up),
        ("process_cpu_seconds_total", &[], COUNTER, Cpu, Unit::Ratio, Up),
        ("process_resident_memory_bytes", &[], GAUGE, Memory, Unit::Bytes, Up),
        ("process_open_fds", &[], GAUGE, Saturation, Unit::Count, Up),
        ("process_max_fds", &[], GAUGE, Other, Unit::None, Both),
        ("api_build_info", &[("version", "1")], GAUGE, Other, Unit::None, Both),
        ("go_goroutines", &[], GAUGE, Saturation, Unit::Count, Up),
    ];
    check(cases);
}

#[test]
fn opentelemetry_conventions() {
    let cases: &[Case] = &[
        ("system.cpu.utilization", &[("cpu.mode", "user")], GAUGE, Cpu, Unit::Ratio, Up),
        (
            "system.memory.usage",
            &[("system.memory.state", "free")],
            GAUGE,
            Memory,
            Unit::None,
            Down,
        ),
        ("http.server.active_requests", &[], GAUGE, Saturation, Unit::Count, Up),
        ("db.client.connection.count", &[], GAUGE, Saturation, Unit::Count, Up),
        ("process.cpu.time", &[], COUNTER, Cpu, Unit::PerSecond, Up),
        (
            "http.server.request.duration",
            &[("error.type", "timeout")],
            GAUGE,
            Errors,
            Unit::Count,
            Up,
        ),
    ];
    check(cases);
    let millis = info("rpc.server.duration", &[], GAUGE, "ms");
    assert_eq!((millis.kind, millis.unit, millis.factor), (Latency, Unit::Seconds, 1e-3));
    assert_eq!(info("process.cpu.time", &[], COUNTER, "s").unit, Unit::Ratio);
    assert_eq!(info("jvm.memory.used", &[], GAUGE, "By").unit, Unit::Bytes);
}

#[test]
fn classes_follow_what_pages_people() {
    let class = |name| info(name, &[], UNKNOWN, "").class;
    assert_eq!(class("up"), MetricClass::Critical);
    assert_eq!(class("http_request_duration_seconds_p99"), MetricClass::Critical);
    assert_eq!(class("gateway:error_ratio:10s"), MetricClass::Critical);
    assert_eq!(class("checkout_orders_total"), MetricClass::Business);
    assert_eq!(class("node_load1"), MetricClass::Infrastructure);
    assert_eq!(class("node_network_receive_drop_total"), MetricClass::Infrastructure);
}

#[test]
fn every_guess_names_its_rule() {
    assert_eq!(info("node_load1", &[], GAUGE, "").because, "bounded resource");
    assert_eq!(info("zzz", &[], GAUGE, "").because, "none");
}

#[test]
fn a_count_without_a_unit_is_a_gauge_until_it_is_declared() {
    assert_eq!(info("queue_count", &[], UNKNOWN, "").form, Form::Gauge);
    assert_eq!(info("latency_ms_count", &[], UNKNOWN, "").form, Form::Counter);
    assert_eq!(info("queue_count", &[], Form::Distribution, "").form, Form::Counter);
    let mut normaliser = NormaliserConfig::default().build().unwrap();
    let key = SeriesKey::new("queue_count", aiops_core::Labels::new());
    let declared = Declared { form: GAUGE, unit: "" };
    let sample = Sample::new(Timestamp::from_secs(1), 4.0);
    let (_, got) = normaliser.sample(&key, declared, sample).unwrap().unwrap();
    assert_eq!(got, sample);
}

fn check(cases: &[Case]) {
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|&(name, labels, form, kind, unit, harm)| {
            let got = info(name, labels, form, "");
            let (expected, got_is) = ((kind, unit, harm), (got.kind, got.unit, got.harm));
            (expected != got_is)
                .then(|| format!("{name} {labels:?}: expected {expected:?}, got {got:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
