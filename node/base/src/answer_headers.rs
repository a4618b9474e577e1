//! The headers of an answer, as they came: names and values where they stand in the bytes of the head.
//!
//! Most answers pass through as they are. To make a map of a head takes some 500 instructions for each of its headers, and
//! to look in it a hash for each name; here both take what it takes to compare lengths. Who changes an answer, or sends
//! it another way, has the map all the same: it is made when it is asked for.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::OnceLock;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::head_lines::HeadLines;
use crate::headers::{self, AnswerFault, ReadHeaders};

/// Headers of an answer, each with a name in lower case.
#[derive(Default)]
pub struct AnswerHeaders {
    /// `None` where the map is all there is.
    fields: Option<HeadFields>,
    /// Of the same headers, once somebody asked for it. Boxed: it is large, rare, and moves with its answer.
    map: OnceLock<Box<HeaderMap>>,
}

/// Where names and values stand in a head.
pub struct HeadFields {
    head: Bytes,
    fields: Vec<HeadField>,
}

/// Where one header stands: its name, and its value.
#[derive(Clone, Debug)]
pub struct HeadField {
    name: Range<u32>,
    value: Range<u32>,
}

impl ReadHeaders for AnswerHeaders {
    fn value_of(&self, name: &HeaderName) -> Option<&[u8]> {
        match &self.fields {
            Some(fields) => fields.values(name.as_str()).next(),
            None => self.deref().value_of(name),
        }
    }
}

impl HeadField {
    /// A header whose name and value are parts of `head`; `None` where they are not.
    pub fn within(head: &[u8], name: &str, value: &[u8]) -> Option<Self> {
        Some(Self {
            name: range(head, name.as_bytes())?,
            value: range(head, value)?,
        })
    }

    /// Its name, to be written in lower case.
    pub fn name_mut<'a>(&self, head: &'a mut [u8]) -> &'a mut [u8] {
        &mut head[wide(&self.name)]
    }
}

/// Where `part` stands in `whole`, which is shorter than 4 GiB.
fn range(whole: &[u8], part: &[u8]) -> Option<Range<u32>> {
    let start = whole.as_ptr_range();
    let start = (part.as_ptr().addr()).checked_sub(start.start.addr())?;
    let end = start + part.len();
    (end <= whole.len()).then_some(u32::try_from(start).ok()?..u32::try_from(end).ok()?)
}

const fn wide(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

impl HeadFields {
    /// The headers of `head`; names are in lower case, and what a name or a value may not contain was refused by who
    /// read it.
    pub const fn new(head: Bytes, fields: Vec<HeadField>) -> Self {
        Self { head, fields }
    }

    fn name(&self, field: &HeadField) -> &str {
        std::str::from_utf8(&self.head[wide(&field.name)]).unwrap_or_default()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let fields = self.fields.iter();
        let named = fields.filter(move |field| self.head[wide(&field.name)] == *name.as_bytes());
        named.map(|field| &self.head[wide(&field.value)])
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.values(name.as_str()).next().is_some()
    }

    /// Removes those for whose name `is_removed`.
    fn remove_all(&mut self, mut is_removed: impl FnMut(&[u8]) -> bool) {
        let head = &self.head;
        self.fields
            .retain(|field| !is_removed(&head[wide(&field.name)]));
    }

    /// Removes what is about one connection, and what `Connection` names.
    fn remove_hop_by_hop(&mut self) {
        if self.has(&header::CONNECTION) {
            let named: Vec<Vec<u8>> = self
                .values(header::CONNECTION.as_str())
                .flat_map(|value| value.split(|byte| *byte == b','))
                .map(|name| name.trim_ascii().to_ascii_lowercase())
                .collect();
            let is_named = |name: &[u8]| named.iter().any(|one| one == name);
            self.remove_all(|name| name == b"connection" || is_named(name));
        }
        self.remove_all(headers::names_hop_by_hop);
    }

    /// What [`headers::settle_answer`] does.
    fn settle(&mut self) -> Result<(), AnswerFault> {
        if self.is_too_large() {
            return Err(AnswerFault::TooLarge);
        }
        for _ in 0..self.check_framing()? {
            let is_length = |field: &HeadField| self.name(field) == header::CONTENT_LENGTH.as_str();
            if let Some(last) = self.fields.iter().rposition(is_length) {
                self.fields.remove(last);
            }
        }
        self.remove_hop_by_hop();
        Ok(())
    }

    fn is_too_large(&self) -> bool {
        let max = headers::ANSWER_HEADER_BYTES_MAX;
        // Hardly any head is so long that its names and values have to be added up.
        let sizes = self.fields.iter();
        let sizes = sizes.map(|field| field.name.len() + field.value.len());
        self.head.len() > max && sizes.sum::<usize>() > max
    }

    /// Checks that the end of the body is certain; how often the length is stated once more.
    fn check_framing(&self) -> Result<usize, AnswerFault> {
        let lengths = || self.values(header::CONTENT_LENGTH.as_str());
        let mut codings = self.values(header::TRANSFER_ENCODING.as_str());
        if let Some(coding) = codings.next() {
            if self.has(&header::CONTENT_LENGTH) {
                return Err(AnswerFault::TwoFramings);
            }
            if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
                return Err(AnswerFault::Coding);
            }
        }
        let Some(first) = lengths().next() else {
            return Ok(0);
        };
        let is_number = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
        match is_number && lengths().all(|other| other == first) {
            true => Ok(lengths().skip(1).count()),
            false => Err(AnswerFault::Length),
        }
    }

    fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.fields.len());
        for field in &self.fields {
            let name = HeaderName::from_bytes(&self.head[wide(&field.name)]);
            let value = HeaderValue::from_maybe_shared(self.head.slice(wide(&field.value)));
            // Who read the head refused all others.
            if let (Ok(name), Ok(value)) = (name, value) {
                map.append(name, value);
            }
        }
        map
    }
}

impl AnswerHeaders {
    /// All of them, in their order.
    pub fn pairs(&self) -> Vec<(&str, &[u8])> {
        match &self.fields {
            Some(fields) => {
                let each = fields.fields.iter();
                each.map(|field| (fields.name(field), &fields.head[wide(&field.value)]))
                    .collect()
            }
            None => self
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_bytes()))
                .collect(),
        }
    }

    /// Whether one is called `name`.
    pub fn has(&self, name: &HeaderName) -> bool {
        self.value_of(name).is_some()
    }

    /// Removes what is about the connection that the answer came on; its length is left once.
    ///
    /// # Errors
    /// When the head cannot be passed on.
    pub fn settle(&mut self, status: StatusCode) -> Result<(), AnswerFault> {
        match &mut self.fields {
            Some(fields) if !status.is_informational() => {
                self.map.take();
                fields.settle()
            }
            _ => headers::settle_answer(status, self),
        }
    }

    /// Removes those that are about one connection only, and those for whose name `is_removed`.
    pub fn strip(&mut self, is_removed: impl Fn(&[u8]) -> bool) {
        match &mut self.fields {
            Some(fields) => {
                self.map.take();
                fields.remove_hop_by_hop();
                fields.remove_all(is_removed);
            }
            None => {
                headers::strip_with_hop_by_hop(self, |name| is_removed(name.as_str().as_bytes()))
            }
        }
    }

    /// Removes those called `name`; the first value.
    pub fn take(&mut self, name: &HeaderName) -> Option<Bytes> {
        let Some(fields) = &mut self.fields else {
            let value = self.remove(name)?;
            return Some(Bytes::copy_from_slice(value.as_bytes()));
        };
        self.map.take();
        let is_it = |field: &HeadField| fields.head[wide(&field.name)] == *name.as_str().as_bytes();
        let at = fields.fields.iter().position(is_it)?;
        let value = fields.head.slice(wide(&fields.fields[at].value));
        fields.remove_all(|other| other == name.as_str().as_bytes());
        Some(value)
    }

    /// Writes all of them to the end of `lines`; what is left is for a map, and empty where there is none.
    pub fn into_head(self, lines: &mut HeadLines) -> HeaderMap {
        let Some(fields) = self.fields else {
            return self
                .map
                .into_inner()
                .map_or_else(HeaderMap::new, |map| *map);
        };
        for field in &fields.fields {
            let (name, value) = (&fields.head[wide(&field.name)], wide(&field.value));
            lines.pass(name, &fields.head[value]);
        }
        HeaderMap::new()
    }
}

impl Deref for AnswerHeaders {
    type Target = HeaderMap;

    fn deref(&self) -> &HeaderMap {
        let make = || self.fields.as_ref().map(HeadFields::to_map);
        self.map
            .get_or_init(|| Box::new(make().unwrap_or_default()))
    }
}

impl DerefMut for AnswerHeaders {
    fn deref_mut(&mut self) -> &mut HeaderMap {
        // From here on the map may differ.
        if let Some(fields) = self.fields.take()
            && self.map.get().is_none()
        {
            self.map = OnceLock::from(Box::new(fields.to_map()));
        }
        self.map.get_or_init(Box::default);
        self.map.get_mut().expect("it was made")
    }
}

impl From<HeaderMap> for AnswerHeaders {
    fn from(map: HeaderMap) -> Self {
        Self {
            fields: None,
            map: Box::new(map).into(),
        }
    }
}

impl From<HeadFields> for AnswerHeaders {
    fn from(fields: HeadFields) -> Self {
        Self {
            fields: Some(fields),
            map: OnceLock::new(),
        }
    }
}

impl From<AnswerHeaders> for HeaderMap {
    fn from(mut headers: AnswerHeaders) -> Self {
        std::mem::take(&mut *headers)
    }
}

/// As a map is shown.
impl fmt::Debug for AnswerHeaders {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.deref().fmt(formatter)
    }
}

#[cfg(test)]
mod tests;
