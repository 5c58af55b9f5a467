//! Asking on the terminal.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

use super::shown::describe;
use super::{Approver, CannotAsk, Request};
use crate::approve::{Answer, Says};
use crate::executor::BoxFuture;
use crate::timer::Timekeeper;

/// Shows the plan on standard error and reads the answer from standard input.
///
/// Shown are cause, targets, whom it can hurt, parameters, and of every step the call and its undo;
/// what comes from outside is written with [`visible`](super::visible).
///
/// `yes` or `y` approves; anything else, an empty line and the end of the input too, rejects: a
/// stray key must not act on the world.
pub struct TerminalApprover {
    by: String,
    clock: Arc<dyn Timekeeper>,
}

impl fmt::Debug for TerminalApprover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TerminalApprover").field("by", &self.by).finish()
    }
}

impl TerminalApprover {
    /// Answers are given in the name of `by`: whoever sits at this terminal.
    #[must_use]
    pub fn new(by: &str, clock: Arc<dyn Timekeeper>) -> TerminalApprover {
        TerminalApprover { by: by.to_owned(), clock }
    }
}

impl Approver for TerminalApprover {
    fn name(&self) -> &str {
        "terminal"
    }

    fn ask<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Answer>, CannotAsk>> {
        let text = describe(&request.plan);
        Box::pin(async move {
            // Reading a line blocks, and cannot be taken back: a thread of its own waits for it.
            let read = tokio::task::spawn_blocking(move || {
                let mut stderr = io::stderr().lock();
                stderr.write_all(text.as_bytes())?;
                stderr.flush()?;
                drop(stderr);
                let mut line = String::new();
                io::stdin().lock().read_line(&mut line)?;
                Ok::<String, io::Error>(line)
            });
            let cannot = |reason: String| CannotAsk { channel: "terminal".to_owned(), reason };
            let line = match read.await {
                Ok(Ok(line)) => line,
                Ok(Err(error)) => return Err(cannot(error.to_string())),
                Err(error) => return Err(cannot(error.to_string())),
            };
            let (says, comment) = read_answer(&line);
            Ok(Some(Answer {
                by: self.by.clone(),
                says,
                to: request.question.binding.clone(),
                at: self.clock.now(),
                via: "terminal".to_owned(),
                comment,
            }))
        })
    }
}

fn read_answer(line: &str) -> (Says, String) {
    let (word, comment) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
    let says = match word.to_ascii_lowercase().as_str() {
        "y" | "yes" => Says::Approve,
        _ => Says::Reject,
    };
    (says, comment.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_approves() {
        for (line, says) in [
            ("y\n", Says::Approve),
            ("Yes, please\n", Says::Reject), // "yes," is not "yes"
            ("YES go\n", Says::Approve),
            ("\n", Says::Reject),
            ("", Says::Reject),
            ("n\n", Says::Reject),
            ("yess\n", Says::Reject),
        ] {
            assert_eq!(read_answer(line).0, says, "{line:?}");
        }
        assert_eq!(read_answer("yes looks right\n").1, "looks right");
    }
}
