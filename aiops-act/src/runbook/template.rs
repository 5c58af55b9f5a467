//! `${{ ... }}` inside the values of a document.
//!
//! A text that is one `${{ expression }}` in whole becomes the expression's value with its type:
//! `limit: ${{ params.limit }}` is a number if the parameter is one. Inside a longer text the
//! value is written out, and only strings, numbers and booleans can be. A rendered value is data:
//! it is never parsed again, so a value that itself contains `${{` stays what it is.

use serde_json::Value;

use super::expr::{Expr, ExprError, Scope, kind_of};

/// Longest text that one template may render to, in bytes.
pub const MAX_RENDERED: usize = 64 * 1024;

/// Why a template is wrong or has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// `${{` without `}}`.
    #[error("`{text}` opens ${{{{ without closing it")]
    Unclosed {
        /// The template's text.
        text: String,
    },
    /// An expression in it does not parse or has no value.
    #[error(transparent)]
    Expr(#[from] ExprError),
    /// A list, a map or null in the middle of a text.
    #[error(
        "`{source_text}` is {got}; inside a longer text only strings, numbers and booleans can stand"
    )]
    NotText {
        /// The expression.
        source_text: String,
        /// The kind of value it has.
        got: &'static str,
    },
    /// The rendered text is longer than [`MAX_RENDERED`].
    #[error("a rendered text would be longer than {MAX_RENDERED} bytes")]
    TooLong,
}

/// The pieces of a text: literal parts and expressions, in order.
enum Piece<'a> {
    Text(&'a str),
    Expr(Expr),
}

/// Renders every string inside `value`, keys excepted.
///
/// # Errors
/// The first template that does not parse or has no value.
pub fn render(value: &Value, scope: &Scope) -> Result<Value, TemplateError> {
    Ok(match value {
        Value::String(text) => render_text(text, scope)?,
        Value::Array(items) => {
            Value::Array(items.iter().map(|v| render(v, scope)).collect::<Result<_, _>>()?)
        }
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(k, v)| Ok((k.clone(), render(v, scope)?)))
                .collect::<Result<_, TemplateError>>()?,
        ),
        other => other.clone(),
    })
}

/// Renders one text; the result keeps the type of a lone expression.
///
/// # Errors
/// As [`render`].
pub fn render_text(text: &str, scope: &Scope) -> Result<Value, TemplateError> {
    let pieces = split(text)?;
    if let [Piece::Expr(expr)] = pieces.as_slice() {
        return Ok(expr.eval(scope)?);
    }
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Expr(expr) => match expr.eval(scope)? {
                Value::String(s) => out.push_str(&s),
                Value::Bool(b) => out.push_str(if b { "true" } else { "false" }),
                Value::Number(n) => out.push_str(&n.to_string()),
                other => {
                    return Err(TemplateError::NotText {
                        source_text: expr.source().to_owned(),
                        got: kind_of(&other),
                    });
                }
            },
        }
        if out.len() > MAX_RENDERED {
            return Err(TemplateError::TooLong);
        }
    }
    Ok(Value::String(out))
}

/// Every expression in the templates of `value`.
///
/// # Errors
/// The first template that does not parse.
pub fn expressions(value: &Value) -> Result<Vec<Expr>, TemplateError> {
    let mut found = Vec::new();
    collect(value, &mut found)?;
    Ok(found)
}

fn collect(value: &Value, found: &mut Vec<Expr>) -> Result<(), TemplateError> {
    match value {
        Value::String(text) => {
            for piece in split(text)? {
                if let Piece::Expr(expr) = piece {
                    found.push(expr);
                }
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|v| collect(v, found)),
        Value::Object(map) => map.values().try_for_each(|v| collect(v, found)),
        _ => Ok(()),
    }
}

fn split(text: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${{") {
        let inside = &rest[start + 3..];
        let end =
            inside.find("}}").ok_or_else(|| TemplateError::Unclosed { text: text.to_owned() })?;
        // `}}` may end a CEL map literal: `${{ {'a': {'b': 1}} }}`. Take the first end that parses.
        let (expr, used) = first_that_parses(inside, end)?;
        if start > 0 {
            pieces.push(Piece::Text(&rest[..start]));
        }
        pieces.push(Piece::Expr(expr));
        rest = &inside[used..];
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// Tries the next few `}}` as the end, and reports the error of the first.
fn first_that_parses(inside: &str, first_end: usize) -> Result<(Expr, usize), TemplateError> {
    const TRIES: usize = 4;
    let mut first_error = None;
    let mut end = first_end;
    for _ in 0..TRIES {
        match Expr::parse(inside[..end].trim()) {
            Ok(expr) => return Ok((expr, end + 2)),
            Err(error) => first_error.get_or_insert(error),
        };
        match inside[end + 1..].find("}}") {
            Some(next) => end += 1 + next,
            None => break,
        }
    }
    Err(first_error.unwrap_or(ExprError::TooLong { got: inside.len() }).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scope() -> Scope {
        Scope::new().with("params", json!({"limit": 70, "name": "api", "hosts": ["a", "b"]}))
    }

    #[test]
    fn a_lone_expression_keeps_its_type_and_a_longer_text_is_text() {
        let value = json!({
            "limit": "${{ params.limit }}",
            "more": "${{ params.limit + 1 }}",
            "url": "http://${{ params.name }}:80${{ params.limit }}/pool",
            "hosts": ["${{ params.hosts }}"],
            "nested": "${{ {'a': {'b': 1}} }}",
            "plain": "no template {{ at all }}",
            "number": 3
        });
        assert_eq!(
            render(&value, &scope()).unwrap(),
            json!({
                "limit": 70, "more": 71, "url": "http://api:8070/pool", "hosts": [["a", "b"]],
                "nested": {"a": {"b": 1}}, "plain": "no template {{ at all }}", "number": 3
            })
        );
    }

    #[test]
    fn a_rendered_value_is_never_rendered_again() {
        let scope = Scope::new().with("params", json!({"name": "${{ 1 + 1 }}"}));
        assert_eq!(render_text("${{ params.name }}", &scope), Ok(json!("${{ 1 + 1 }}")));
        assert_eq!(render_text("x${{ params.name }}", &scope), Ok(json!("x${{ 1 + 1 }}")));
    }

    #[test]
    fn what_cannot_be_rendered_says_why() {
        assert!(matches!(
            render_text("${{ params.limit", &scope()),
            Err(TemplateError::Unclosed { .. })
        ));
        assert!(matches!(
            render_text("a ${{ params.hosts }}", &scope()),
            Err(TemplateError::NotText { got: "a list", .. })
        ));
        assert!(matches!(render_text("${{ params.nope }}", &scope()), Err(TemplateError::Expr(_))));
        assert!(matches!(render_text("${{ }}", &scope()), Err(TemplateError::Expr(_))));
    }
}
