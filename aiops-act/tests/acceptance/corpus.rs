//! The corpora of the fuzz targets, and small changes of each file.

use std::path::Path;

use aiops_act::testing::check_bytes;

#[test]
fn outside_bytes_never_panic() {
    for decoder in ["runbook", "journal", "token", "callback"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(decoder);
        let mut files = 0;
        for entry in std::fs::read_dir(&dir).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            files += 1;
            check_bytes(decoder, &bytes);
            // Cut off, and with a byte turned into one that means something.
            let stride = (bytes.len() / 60).max(1);
            for at in (0..bytes.len()).step_by(stride) {
                check_bytes(decoder, &bytes[..at]);
                for byte in [b'{', b'"', b'*', b'\n', 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] = byte;
                    check_bytes(decoder, &changed);
                }
            }
        }
        assert!(files > 0, "{decoder}");
    }
}
