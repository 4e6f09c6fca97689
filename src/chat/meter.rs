//! The budget of one rendering. Every operation of a template that makes text or takes time in proportion to a value is
//! charged before it happens.

use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// How deep values may be nested, so that walking and dropping them needs little stack.
const MAX_DEPTH: usize = 64;
/// How many items a value may have in all, counting shared parts as often as they appear.
const MAX_ITEMS: usize = 1 << 20;
/// What one item of a list or map is charged, in bytes.
const ITEM_BYTES: u64 = 16;

/// Bytes of text that may still be made.
#[derive(Debug)]
pub(super) struct Meter {
    left: AtomicU64,
    limit: u64,
}

impl Meter {
    pub(super) fn new(limit: u64) -> Self {
        Meter { left: AtomicU64::new(limit), limit }
    }

    /// Takes `n_bytes` from the budget.
    pub(super) fn charge(&self, n_bytes: u64) -> Result<(), Error> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(n_bytes));
        match taken {
            Ok(_) => Ok(()),
            Err(_) => Err(invalid(format!("the template makes more than its limit of {} bytes of text", self.limit))),
        }
    }

    /// Charges for all the text that a value is written with, and refuses one that is nested too deep or too large. Returns
    /// the number of bytes charged.
    pub(super) fn charge_text(&self, value: &Value) -> Result<u64, Error> {
        self.walk(value, |value| text_len(value).unwrap_or(ITEM_BYTES))
    }

    /// Charges for the items of a value but not for their texts, which it shares, and refuses one that is nested too deep
    /// or too large.
    pub(super) fn charge_shape(&self, value: &Value) -> Result<(), Error> {
        self.walk(value, |_| ITEM_BYTES).map(drop)
    }

    fn walk(&self, value: &Value, cost: impl Fn(&Value) -> u64) -> Result<u64, Error> {
        let mut n_bytes = 0;
        let mut n_items = 0;
        let mut open = vec![(value.clone(), 0)];
        while let Some((value, depth)) = open.pop() {
            n_items += 1;
            if depth > MAX_DEPTH {
                return Err(invalid(format!("a value is nested more than {MAX_DEPTH} deep")));
            }
            if n_items + open.len() > MAX_ITEMS {
                return Err(invalid(format!("a value has more than {MAX_ITEMS} items")));
            }
            let own = cost(&value);
            self.charge(own)?;
            n_bytes += own;
            if !is_container(&value) {
                continue;
            }
            // Iterating over a map gives its keys.
            let is_map = value.kind() == ValueKind::Map;
            for item in value.try_iter()?.take(MAX_ITEMS) {
                if is_map {
                    open.push((value.get_item(&item)?, depth + 1));
                }
                open.push((item, depth + 1));
            }
        }
        Ok(n_bytes)
    }

    /// Checks what an operation returned: charges a text, and copies a sequence, so that no lazy value refers to another.
    pub(super) fn charge_result(&self, result: Value) -> Result<Value, Error> {
        match result.kind() {
            ValueKind::Seq | ValueKind::Iterable if !result.is_tuple() => {
                let mut items = Vec::new();
                for item in result.try_iter()? {
                    self.charge(ITEM_BYTES)?;
                    items.push(item);
                }
                let copy = Value::from(items);
                self.charge_shape(&copy)?;
                Ok(copy)
            }
            ValueKind::Seq | ValueKind::Map => self.charge_shape(&result).map(|()| result),
            _ => self.charge(text_len(&result).unwrap_or(0)).map(|()| result),
        }
    }
}

/// Whether a value holds other values.
pub(super) fn is_container(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
}

pub(super) fn text_len(value: &Value) -> Option<u64> {
    value.as_str().map(str::len).or(value.as_bytes().map(<[u8]>::len)).map(|len| len as u64)
}

/// An error of the template.
pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
