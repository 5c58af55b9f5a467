//! Metric names as words, and what the words mean.

use rustc_hash::FxHashMap;
use std::sync::OnceLock;

/// What a word of a metric name hints at; hints of one name are or-ed together.
pub(super) type Hint = u32;

pub(super) const UP: Hint = 1 << 0;
pub(super) const CONSTANT: Hint = 1 << 1;
pub(super) const CAPACITY: Hint = 1 << 2;
pub(super) const ERROR: Hint = 1 << 3;
pub(super) const LATENCY: Hint = 1 << 4;
pub(super) const WAITING: Hint = 1 << 5;
pub(super) const BOUNDED: Hint = 1 << 6;
pub(super) const WORK: Hint = 1 << 7;
pub(super) const DEMAND: Hint = 1 << 8;
pub(super) const BUSINESS: Hint = 1 << 9;
pub(super) const SERVED: Hint = 1 << 10;
pub(super) const CPU: Hint = 1 << 11;
pub(super) const MEMORY: Hint = 1 << 12;
pub(super) const HELD_BACK: Hint = 1 << 13;
pub(super) const BUSY: Hint = 1 << 14;
pub(super) const SPARE: Hint = 1 << 15;
pub(super) const IDLE: Hint = 1 << 16;
pub(super) const CACHED: Hint = 1 << 17;
pub(super) const RATE: Hint = 1 << 18;
pub(super) const LOCKED: Hint = 1 << 19;
pub(super) const HIT: Hint = 1 << 20;
pub(super) const LOG: Hint = 1 << 21;
pub(super) const STORED: Hint = 1 << 22;
pub(super) const TOTAL_SIZE: Hint = 1 << 23;
pub(super) const UTILIZATION: Hint = 1 << 24;

/// Words by what they hint at, two words joined by `_`. A word may stand in several lines.
const VOCABULARY: &[(Hint, &str)] = &[
    (UP, "up success healthy alive reachable availability available_replicas ready"),
    (CONSTANT, "info created timestamp version build uptime boot start_time settings config"),
    (CONSTANT, "modified gomaxprocs frequency hertz port reload"),
    (
        CAPACITY,
        "max maximum limit limits capacity quota maxclients maxmemory allocatable cores cpus",
    ),
    (CAPACITY | TOTAL_SIZE, "mem_total memory_total swap_total disk_total"),
    (CAPACITY, "size_bytes desired"),
    (
        ERROR,
        "error errors errs err fail fails failed failure failures exception exceptions timeout",
    ),
    (ERROR, "timeouts drop drops dropped reject rejected rejects refused abort aborts aborted"),
    (
        ERROR,
        "rollback rollbacks deadlock deadlocks retrans retransmits retry retries oom panic panics",
    ),
    (ERROR, "crash crashes 5xx conflicts invalid lost unavailable malformed"),
    (LATENCY, "latency duration response_time rtt delay elapsed wait waited"),
    (WAITING | BOUNDED, "waiting"),
    (
        BOUNDED,
        "queue queued queueing backlog pending in_flight inflight connections connection clients",
    ),
    (
        BOUNDED,
        "pool sessions activity backends threads goroutines fds inode inodes filesystem conntrack",
    ),
    (
        BOUNDED,
        "lag saturation blocked runnable load1 load5 load15 load swap usage inuse in_use active busy",
    ),
    (BOUNDED, "io_now depth fragmentation oldest sockets slots"),
    (BOUNDED | UTILIZATION, "utilization"),
    (BOUNDED | LOCKED, "locks lock evicted evictions"),
    (HELD_BACK, "throttled pressure stalled"),
    (BUSY, "io_time busy"),
    (
        WORK | DEMAND,
        "request requests query queries command commands transaction transactions commit",
    ),
    (WORK | DEMAND, "messages events calls handled accepted processed served hits consumed"),
    (
        WORK,
        "xact message event packet packets operations operation ops call rows tup read reads write",
    ),
    (WORK, "writes written sent received receive transmit records blks connections bytes samples"),
    (WORK, "blocks syncs jobs tasks produced count"),
    (WORK | DEMAND | RATE, "qps rps"),
    (WORK | RATE, "rate throughput rate1m rate5m rate10s rate30s per_second"),
    (WORK | DEMAND | BUSINESS, "order orders checkout checkouts payment payments"),
    (
        BUSINESS,
        "revenue sales cart signup signups logins subscriptions bookings purchases conversion",
    ),
    (SERVED, "http grpc rpc request requests gateway probe slo api"),
    (CPU, "cpu cpus"),
    (MEMORY, "memory mem rss heap resident swap"),
    (SPARE, "available avail free remaining"),
    (IDLE | BOUNDED, "idle"),
    (CACHED | BOUNDED, "buffers"),
    (CACHED, "cached cache inactive slab mapped reclaimable"),
    (STORED, "disk filesystem volume database"),
    (HIT, "hit"),
    (LOG, "log_template"),
];

/// A metric name cut into lower-case words at `_ : . / -` and at the humps of camel case.
///
/// `node_memory_MemAvailable_bytes` becomes `node memory mem available bytes`.
pub(super) struct Words {
    /// Each followed by `_`, so that two neighbours can be looked up as one.
    text: String,
    hints: Hint,
}

impl Words {
    pub(super) fn of(name: &str) -> Self {
        let mut text = String::with_capacity(name.len() + 8);
        let mut previous = '_';
        for c in name.chars() {
            let hump = c.is_ascii_uppercase() && previous.is_ascii_lowercase();
            if hump || !c.is_ascii_alphanumeric() && !text.ends_with('_') && !text.is_empty() {
                text.push('_');
            }
            if c.is_ascii_alphanumeric() {
                text.push(c.to_ascii_lowercase());
            }
            previous = c;
        }
        let mut words = Words { text, hints: 0 };
        words.hints = words.look_up();
        words
    }

    /// Whether any word hints at any of `hints`.
    pub(super) fn hint(&self, hints: Hint) -> bool {
        self.hints & hints != 0
    }

    /// The words, in order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.text.split('_').filter(|word| !word.is_empty())
    }

    fn look_up(&self) -> Hint {
        let vocabulary = vocabulary();
        let hint = |text: &str| vocabulary.get(text).copied().unwrap_or_default();
        let mut hints = 0;
        let mut previous = None;
        let mut start = 0;
        for word in self.text.split('_') {
            let end = start + word.len();
            hints |= hint(word);
            if let Some(previous) = previous {
                hints |= hint(&self.text[previous..end]);
            }
            previous = Some(start);
            start = end + 1;
        }
        hints
    }
}

fn vocabulary() -> &'static FxHashMap<&'static str, Hint> {
    static WORDS: OnceLock<FxHashMap<&'static str, Hint>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let mut words = FxHashMap::default();
        for (hint, text) in VOCABULARY {
            text.split(' ').for_each(|word| *words.entry(word).or_default() |= hint);
        }
        words
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_words() {
        let words = |name| Words::of(name).iter().collect::<Vec<_>>().join(" ");
        assert_eq!(words("node_memory_MemAvailable_bytes"), "node memory mem available bytes");
        assert_eq!(words("http.server.request.duration"), "http server request duration");
        assert_eq!(words("gateway:error_ratio:10s"), "gateway error ratio 10s");
        assert_eq!(words("node_sockstat_TCP_inuse"), "node sockstat tcp inuse");
        assert_eq!(words("__"), "");
    }

    #[test]
    fn whole_words_and_pairs_of_neighbours_hint() {
        let words = Words::of("api_requests_in_flight");
        assert!(words.hint(BOUNDED) && words.hint(DEMAND) && words.hint(SERVED));
        assert!(!Words::of("flight_in").hint(BOUNDED), "the order counts");
        assert!(!Words::of("supper_terrors").hint(UP | ERROR), "parts of words do not");
        assert!(!Words::of("").hint(!0));
    }
}
