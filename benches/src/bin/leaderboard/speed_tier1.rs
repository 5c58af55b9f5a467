//! Speed rows of tier-1 detection.

use crate::registry::SpeedRow;

pub(crate) const ROWS: &[SpeedRow] = &[];
