//! What a file is called: the catalogue is the listing, there is no manifest to lose.
//!
//! `raw/tenant=acme/day=2026-11-24/points-<from>-<to>-<seq>-<first>-<last>-<checksum>.parquet`, and
//! beside it `series-...` with the same stem and a checksum of its own. Times are seconds, hashes
//! and checksums (xxh3 of the file) hexadecimal.

use aiops_core::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Raw,
    Rollup,
}

/// Some of the series of one tenant over one block of time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    pub(super) level: Level,
    pub(super) tenant: String,
    /// Seconds since the epoch: the first, and the first that is not of the block any more.
    pub(super) from: i64,
    pub(super) to: i64,
    /// Later parts of a block win over earlier ones.
    pub(super) seq: u64,
    /// The least and the greatest series hash.
    pub(super) hashes: (u64, u64),
}

/// The two files of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum File {
    Points,
    Series,
}

impl Part {
    pub(super) fn overlaps(&self, from: Timestamp, to: Timestamp) -> bool {
        Timestamp::from_secs(self.from) < to && from < Timestamp::from_secs(self.to)
    }

    pub(super) fn ended_by(&self, time: Timestamp) -> bool {
        Timestamp::from_secs(self.to) <= time
    }

    /// Where the file goes, given the checksum of its bytes.
    pub(super) fn path(&self, file: File, checksum: u64) -> String {
        let level = match self.level {
            Level::Raw => "raw",
            Level::Rollup => "rollup",
        };
        let file = match file {
            File::Points => "points",
            File::Series => "series",
        };
        let Part { from, to, seq, hashes: (first, last), .. } = self;
        format!(
            "{level}/tenant={}/day={}/{file}-{from}-{to}-{seq}-{first:016x}-{last:016x}-{checksum:016x}.parquet",
            escape(&self.tenant),
            day(*from),
        )
    }

    /// The part, file and checksum that a path names; `None` for files of somebody else.
    pub(super) fn parse(path: &str) -> Option<(Part, File, u64)> {
        let mut folders = path.split('/');
        let level = match folders.next()? {
            "raw" => Level::Raw,
            "rollup" => Level::Rollup,
            _ => return None,
        };
        let tenant = unescape(folders.next()?.strip_prefix("tenant=")?)?;
        folders.next()?.strip_prefix("day=")?;
        let name = folders.next()?.strip_suffix(".parquet")?;
        if folders.next().is_some() {
            return None;
        }
        let mut words = name.split('-');
        let file = match words.next()? {
            "points" => File::Points,
            "series" => File::Series,
            _ => return None,
        };
        let (from, to) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let seq = words.next()?.parse().ok()?;
        let mut hex = || u64::from_str_radix(words.next()?, 16).ok();
        let (hashes, checksum) = ((hex()?, hex()?), hex()?);
        Some((Part { level, tenant, from, to, seq, hashes }, file, checksum))
    }
}

pub(super) fn checksum(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// A tenant as a folder name: letters, digits, `_` and `-` stay, the rest becomes `+` and two
/// hexadecimal digits; nobody in particular is `-`.
pub(super) fn escape(tenant: &str) -> String {
    if tenant.is_empty() {
        return "-".into();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let escape = tenant == "-";
    tenant.bytes().fold(String::new(), |mut out, byte| {
        if plain(byte) && !escape {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("+{byte:02X}"));
        }
        out
    })
}

pub(super) fn unescape(folder: &str) -> Option<String> {
    if folder == "-" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(folder.len());
    let mut rest = folder.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'+' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The UTC day of a second, as `2026-11-24`.
fn day(secs: i64) -> String {
    let time = jiff::Timestamp::from_second(secs).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_part() {
        for tenant in ["", "acme", "a/b", "-", "..", "zürich+1"] {
            let part = Part {
                level: Level::Rollup,
                tenant: tenant.into(),
                from: 1_700_000_000,
                to: 1_700_007_200,
                seq: 7,
                hashes: (1, u64::MAX),
            };
            let path = part.path(File::Series, 0xabc);
            assert_eq!(Part::parse(&path), Some((part, File::Series, 0xabc)), "{path}");
            assert!(path.contains("/day=2023-11-14/"), "{path}");
        }
        for foreign in ["", "raw/x", "raw/tenant=a/day=b/points-1.parquet", "README.md"] {
            assert_eq!(Part::parse(foreign), None);
        }
    }
}
