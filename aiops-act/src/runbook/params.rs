//! Values for parameters: typed, bounded, complete.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::expr::kind_of;
use super::parse::closest;
use super::schema::{Document, Param, ParamType};
use crate::secret::is_reference;

/// Why the given values are not values of the parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamError {
    /// A value for a parameter that does not exist.
    #[error("no parameter is called `{name}`{}", hint.as_ref().map_or(String::new(), |h| format!("; did you mean `{h}`?")))]
    Unknown {
        /// The name given.
        name: String,
        /// The closest name that exists.
        hint: Option<String>,
    },
    /// No value and no default.
    #[error("parameter `{name}` has no default and no value was given")]
    Missing {
        /// The parameter.
        name: String,
    },
    /// A value that does not fit.
    #[error("parameter `{name}`: {reason}")]
    Unfit {
        /// The parameter.
        name: String,
        /// What must hold.
        reason: String,
    },
}

impl ParamType {
    /// Whether `value` is of this type.
    pub(crate) fn fits(self, value: &Value) -> bool {
        match self {
            ParamType::String => value.is_string(),
            ParamType::Integer => value.is_i64() || value.is_u64(),
            ParamType::Number => value.is_number(),
            ParamType::Boolean => value.is_boolean(),
        }
    }
}

impl Param {
    /// Checks one value.
    pub(crate) fn accepts(&self, value: &Value) -> Result<(), String> {
        if !self.kind.fits(value) {
            return Err(format!("must be {}, got {}", self.kind.name(), kind_of(value)));
        }
        if !self.one_of.is_empty() && !self.one_of.contains(value) {
            let allowed: Vec<String> = self.one_of.iter().map(Value::to_string).collect();
            return Err(format!("must be one of {}", allowed.join(", ")));
        }
        if let Some(number) = value.as_f64() {
            if let Some(least) = self.minimum
                && number < least
            {
                return Err(format!("must be at least {least}, got {number}"));
            }
            if let Some(most) = self.maximum
                && number > most
            {
                return Err(format!("must be at most {most}, got {number}"));
            }
        }
        if let Some(text) = value.as_str() {
            if text.len() > self.max_length {
                return Err(format!("has {} bytes, more than {}", text.len(), self.max_length));
            }
            if self.secret && !is_reference(text) {
                // The text itself may be the secret: never repeat it.
                return Err("is secret: give a reference, secret://name, not the value".to_owned());
            }
        }
        Ok(())
    }
}

impl ParamType {
    fn name(self) -> &'static str {
        match self {
            ParamType::String => "a string",
            ParamType::Integer => "an integer",
            ParamType::Number => "a number",
            ParamType::Boolean => "true or false",
        }
    }
}

impl Document {
    /// The complete values of the parameters: `given` where given, defaults elsewhere.
    ///
    /// # Errors
    /// An unknown name, a missing value, or one that does not fit; the first in order of names.
    pub fn fill_params(
        &self,
        given: &BTreeMap<String, Value>,
    ) -> Result<Map<String, Value>, ParamError> {
        if let Some(name) = given.keys().find(|name| !self.params.contains_key(*name)) {
            let known: Vec<&String> = self.params.keys().collect();
            return Err(ParamError::Unknown { name: name.clone(), hint: closest(name, &known) });
        }
        let mut filled = Map::new();
        for (name, param) in &self.params {
            let value = given
                .get(name)
                .or(param.default.as_ref())
                .ok_or_else(|| ParamError::Missing { name: name.clone() })?;
            param
                .accepts(value)
                .map_err(|reason| ParamError::Unfit { name: name.clone(), reason })?;
            filled.insert(name.clone(), value.clone());
        }
        Ok(filled)
    }
}
