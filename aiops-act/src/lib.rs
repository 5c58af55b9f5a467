//! Runbooks that may be trusted: approval, journal, verification, rollback, audit
