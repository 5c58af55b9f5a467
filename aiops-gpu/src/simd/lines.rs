//! [`Lines`]: floats that begin on a cache line, because a register that lies across two costs twice.

/// Sixteen floats on a cache line of their own.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A column of floats that begins on a cache line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    lines: Vec<Line>,
    len: usize,
}

impl Lines {
    /// So many zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut lines = Lines::default();
        lines.grow(len);
        lines
    }

    /// Makes it at least so long, with zeros.
    pub(crate) fn grow(&mut self, len: usize) {
        if len > self.len {
            self.lines.resize(len.div_ceil(16), Line([0.0; 16]));
            self.len = len;
        }
    }
}

impl std::ops::Deref for Lines {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is sixteen floats without padding, and `grow` made enough of them for `len`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl std::ops::DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as `deref`; the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_on_a_line_and_grows_with_zeros() {
        let mut column = Lines::zeros(5);
        column[4] = 1.0;
        column.grow(40);
        assert_eq!((column.len(), column[4], column[39]), (40, 1.0, 0.0));
        assert_eq!(column.as_ptr() as usize % 64, 0);
    }
}
