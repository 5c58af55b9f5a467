//! Which series a recording holds: one list, the same for every fault.
//!
//! It is what an operator of this shop would have on dashboards: for each service its traffic,
//! errors, latency, limits and resources, and beside them what is merely there (the host's memory
//! and network, the caches' bookkeeping, Prometheus itself). After the first faults were seen, the
//! volume's own throttling counters were taken out, because they would have given one fault away. Histograms are represented by their count and sum; quantiles come as recording rules.

use std::collections::BTreeMap;

use super::RawSeries;

/// One column of a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Metric name.
    pub name: String,
    /// The service it is about.
    pub service: String,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// `seconds`, `bytes`, `ratio`, or nothing.
    pub unit: &'static str,
    /// Labels that tell series of one name apart.
    pub labels: BTreeMap<String, String>,
    /// Raw samples: time in milliseconds, value.
    pub samples: Vec<(i64, f64)>,
}

impl Column {
    /// Significant digits worth keeping: rates are differences of counters, which need more.
    pub fn digits(&self) -> usize {
        if self.kind == "counter" { 9 } else { 5 }
    }
}

/// A label that must have one of these values.
type Only = (&'static str, &'static [&'static str]);

const SHOP: Option<Only> = Some(("datname", &["shop"]));

/// Metric names, each with the label values that are wanted; all series of it when there is none.
const METRICS: &[(&str, Option<Only>)] = &[
    // What users get.
    ("gateway:requests:rate10s", None),
    ("gateway:error_ratio:10s", None),
    ("gateway:latency_seconds:p50", None),
    ("gateway:latency_seconds:p95", None),
    ("gateway:latency_seconds:p99", None),
    ("gateway_requests_total", None),
    ("gateway_request_duration_seconds_count", None),
    ("gateway_request_duration_seconds_sum", None),
    ("gateway_upstream_duration_seconds_count", None),
    ("gateway_upstream_duration_seconds_sum", None),
    ("nginx_connections_active", None),
    ("nginx_connections_reading", None),
    ("nginx_connections_writing", None),
    ("nginx_connections_waiting", None),
    ("nginx_connections_accepted", None),
    ("nginx_http_requests_total", None),
    // The API.
    ("api:requests:rate10s", None),
    ("api:error_ratio:10s", None),
    ("api:latency_seconds:p50", None),
    ("api:latency_seconds:p95", None),
    ("api:latency_seconds:p99", None),
    ("api:pool_wait_seconds:p95", None),
    ("api:db_query_seconds:p95", None),
    ("api:cache_call_seconds:p95", None),
    ("api:cache_hit_ratio:10s", None),
    ("api_requests_total", Some(("code", &["200", "409", "500", "503", "504"]))),
    ("api_request_duration_seconds_count", None),
    ("api_request_duration_seconds_sum", None),
    ("api_requests_in_flight", None),
    ("api_errors_total", None),
    ("api_timeouts_total", None),
    ("api_pool_connections_max", None),
    ("api_pool_connections_open", None),
    ("api_pool_connections_in_use", None),
    ("api_pool_waiting", None),
    ("api_pool_wait_seconds_count", None),
    ("api_pool_wait_seconds_sum", None),
    ("api_db_query_duration_seconds_count", None),
    ("api_db_query_duration_seconds_sum", None),
    ("api_cache_requests_total", None),
    ("api_cache_call_duration_seconds_count", None),
    ("api_cache_call_duration_seconds_sum", None),
    ("process_cpu_seconds_total", None),
    ("process_resident_memory_bytes", None),
    ("process_threads", None),
    // Each service from outside.
    ("probe_duration_seconds", None),
    ("probe_success", None),
    ("service_cpu_seconds_total", None),
    ("service_cpu_throttled_seconds_total", None),
    ("service_memory_resident_bytes", None),
    ("service_memory_cache_bytes", None),
    // PostgreSQL.
    ("pg_up", None),
    ("pg_limits_max_connections", None),
    ("pg_sessions_count", None),
    ("pg_sessions_waiting_for_lock", None),
    ("pg_sessions_waiting_for_io", None),
    ("pg_sessions_waiting_for_lwlock", None),
    ("pg_transactions_active", None),
    ("pg_transactions_idle", None),
    ("pg_transactions_oldest_seconds", None),
    ("pg_locks_count", SHOP),
    ("pg_database_size_bytes", SHOP),
    ("pg_stat_database_numbackends", SHOP),
    ("pg_stat_database_xact_commit", SHOP),
    ("pg_stat_database_xact_rollback", SHOP),
    ("pg_stat_database_tup_fetched", SHOP),
    ("pg_stat_database_tup_returned", SHOP),
    ("pg_stat_database_tup_inserted", SHOP),
    ("pg_stat_database_tup_updated", SHOP),
    ("pg_stat_database_blks_hit", SHOP),
    ("pg_stat_database_blks_read", SHOP),
    ("pg_stat_database_blk_read_time", SHOP),
    ("pg_stat_database_temp_bytes", SHOP),
    ("pg_stat_database_deadlocks", SHOP),
    ("pg_stat_database_active_time", SHOP),
    ("pg_stat_database_idle_in_transaction_time", SHOP),
    ("pg_stat_bgwriter_buffers_checkpoint_total", None),
    ("pg_stat_bgwriter_buffers_backend_total", None),
    ("pg_stat_bgwriter_buffers_alloc_total", None),
    ("pg_stat_bgwriter_checkpoints_timed_total", None),
    ("pg_stat_bgwriter_checkpoint_sync_time_total", None),
    ("pg_stat_bgwriter_checkpoint_write_time_total", None),
    ("pg_wal_records", None),
    ("pg_wal_bytes", None),
    ("pg_wal_syncs", None),
    ("pg_wal_sync_seconds", None),
    // Redis.
    ("redis:command_seconds:mean10s", None),
    ("redis_up", None),
    ("redis_connected_clients", None),
    ("redis_blocked_clients", None),
    ("redis_commands_processed_total", None),
    ("redis_commands_total", Some(("cmd", &["get", "set", "setex", "del"]))),
    ("redis_commands_duration_seconds_total", Some(("cmd", &["get", "set", "setex", "del"]))),
    ("redis_cpu_user_seconds_total", None),
    ("redis_cpu_sys_seconds_total", None),
    ("redis_memory_used_bytes", None),
    ("redis_memory_used_rss_bytes", None),
    ("redis_mem_fragmentation_ratio", None),
    ("redis_keyspace_hits_total", None),
    ("redis_keyspace_misses_total", None),
    ("redis_expired_keys_total", None),
    ("redis_evicted_keys_total", None),
    ("redis_net_input_bytes_total", None),
    ("redis_net_output_bytes_total", None),
    ("redis_slowlog_length", None),
    ("redis_last_slow_execution_duration_seconds", None),
    ("redis_connections_received_total", None),
    ("redis_db_keys", Some(("db", &["db0"]))),
    ("redis_db_keys_expiring", Some(("db", &["db0"]))),
    // The host.
    ("node_cpu_seconds_total", Some(("mode", &["user", "system", "iowait", "softirq", "steal"]))),
    ("node_load1", None),
    ("node_load5", None),
    ("node_memory_MemAvailable_bytes", None),
    ("node_memory_Cached_bytes", None),
    ("node_memory_Dirty_bytes", None),
    ("node_memory_AnonPages_bytes", None),
    ("node_disk_io_time_seconds_total", None),
    ("node_disk_io_time_weighted_seconds_total", None),
    ("node_disk_read_bytes_total", None),
    ("node_disk_reads_completed_total", None),
    ("node_disk_written_bytes_total", None),
    ("node_disk_writes_completed_total", None),
    ("node_disk_write_time_seconds_total", None),
    ("node_network_receive_bytes_total", Some(("device", &["eth0"]))),
    ("node_network_transmit_bytes_total", Some(("device", &["eth0"]))),
    ("node_filefd_allocated", None),
    ("node_context_switches_total", None),
    ("node_forks_total", None),
    ("node_procs_running", None),
    ("node_procs_blocked", None),
    // The watcher.
    ("up", None),
    ("scrape_duration_seconds", None),
    ("prometheus_tsdb_head_series", None),
    ("prometheus_tsdb_head_samples_appended_total", Some(("type", &["float"]))),
    ("prometheus_rule_group_last_duration_seconds", None),
    ("prometheus_engine_queries", None),
];

/// Labels that say where a sample was scraped; they differ between lanes and mean nothing.
const PLUMBING: [&str; 7] =
    ["__name__", "instance", "job", "service", "server", "datid", "collector"];

/// The PromQL selector of every listed metric.
pub fn selector() -> String {
    let names: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
    format!("{{__name__=~\"{}\"}}", names.join("|"))
}

/// Turns histories into columns, ordered by service, name and labels. `kinds` are the types that
/// the targets declared, by metric name.
pub fn columns(history: Vec<RawSeries>, kinds: &BTreeMap<String, String>) -> Vec<Column> {
    let mut columns: Vec<Column> =
        history.into_iter().filter_map(|series| column(series, kinds)).collect();
    columns.sort_by(|a, b| (&a.service, &a.name, &a.labels).cmp(&(&b.service, &b.name, &b.labels)));
    columns
}

fn column(series: RawSeries, kinds: &BTreeMap<String, String>) -> Option<Column> {
    let mut labels = series.labels;
    let name = labels.get("__name__")?.clone();
    let (_, only) = METRICS.iter().find(|(listed, _)| *listed == name)?;
    if let Some((label, values)) = only {
        let value = labels.get(*label).map_or("", String::as_str);
        if !values.contains(&value) {
            return None;
        }
    }
    // What Prometheus says of a target is told apart by the target's job alone.
    let job =
        labels.get("job").cloned().filter(|_| name == "up" || name == "scrape_duration_seconds");
    let service = labels.get("service").cloned().unwrap_or_else(|| "host".to_owned());
    for plumbing in PLUMBING {
        labels.remove(plumbing);
    }
    if let Some(group) = labels.get_mut("rule_group") {
        // "/path/to/rules.yml;records"
        *group = group.rsplit(';').next().unwrap_or_default().to_owned();
    }
    labels.extend(job.map(|job| ("job".to_owned(), job)));
    Some(Column {
        kind: kind(&name, kinds),
        unit: unit(&name),
        name,
        service,
        labels,
        samples: series.samples,
    })
}

/// Counters that the PostgreSQL exporter declares without a type.
const UNDECLARED_COUNTERS: [&str; 2] =
    ["pg_stat_database_active_time", "pg_stat_database_idle_in_transaction_time"];

/// Histogram parts and OpenMetrics counters are declared under their base name.
fn kind(name: &str, kinds: &BTreeMap<String, String>) -> &'static str {
    let declared = |name: &str| kinds.get(name).map(String::as_str);
    let base = |suffix: &str| name.strip_suffix(suffix).and_then(declared);
    let counts = |kind: Option<&str>| matches!(kind, Some("counter" | "histogram" | "summary"));
    if UNDECLARED_COUNTERS.contains(&name)
        || declared(name) == Some("counter")
        || base("_total") == Some("counter")
        || counts(base("_count"))
        || counts(base("_sum"))
    {
        "counter"
    } else {
        "gauge"
    }
}

fn unit(name: &str) -> &'static str {
    let has = |word: &str| name.split(['_', ':']).any(|part| part == word);
    if name.ends_with("_count") {
        ""
    } else if has("ratio") {
        "ratio"
    } else if has("seconds") || has("duration") && name.starts_with("probe") {
        "seconds"
    } else if has("bytes") {
        "bytes"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_listed_once() {
        let mut names: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn what_tells_a_lane_from_another_is_dropped() {
        let series = |labels: &[(&str, &str)]| RawSeries {
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            samples: Vec::new(),
        };
        let history = vec![
            series(&[("__name__", "up"), ("job", "api"), ("instance", "x:1"), ("service", "api")]),
            series(&[("__name__", "pg_locks_count"), ("datname", "postgres")]),
            series(&[("__name__", "unlisted"), ("service", "api")]),
        ];
        let found = columns(history, &BTreeMap::new());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].labels, BTreeMap::from([("job".to_owned(), "api".to_owned())]));
    }

    #[test]
    fn kinds_and_units_follow_the_declarations() {
        let kinds = [
            ("api_requests", "counter"),
            ("api_wait_seconds", "histogram"),
            ("node_cpu_seconds_total", "counter"),
        ]
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .into();
        let got = |name| (kind(name, &kinds), unit(name));
        assert_eq!(got("api_requests_total"), ("counter", ""));
        assert_eq!(got("api_wait_seconds_sum"), ("counter", "seconds"));
        assert_eq!(got("api_wait_seconds_count"), ("counter", ""));
        assert_eq!(got("node_cpu_seconds_total"), ("counter", "seconds"));
        assert_eq!(got("gateway:error_ratio:10s"), ("gauge", "ratio"));
        assert_eq!(got("pg_sessions_count"), ("gauge", ""));
    }
}
