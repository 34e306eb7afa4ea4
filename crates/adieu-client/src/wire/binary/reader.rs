//! Reads numbers, texts and times from a peer's bytes.

use uuid::Uuid;

use crate::wire::WireError;
use adieu::{IdError, MAX_ID_BYTES, time::Timestamp};

pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns the number of remaining bytes.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    pub(super) fn byte(&mut self) -> Result<u8, WireError> {
        let [byte] = self.bytes()?;
        Ok(byte)
    }

    pub(super) fn bytes<const COUNT: usize>(&mut self) -> Result<[u8; COUNT], WireError> {
        let (bytes, rest) = self.0.split_first_chunk::<COUNT>().ok_or_else(ends_early)?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// Reads LEB128, in as few bytes as the number takes.
    pub(super) fn number(&mut self) -> Result<u64, WireError> {
        let mut number = 0;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 || shift > 63 || shift > 0 && byte == 0 {
                return Err(WireError::new("a number is too large, or longer than it needs to be"));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
            shift += 7;
        }
    }

    /// Reads a text, not longer than an id may be.
    pub(super) fn text(&mut self) -> Result<&'a str, WireError> {
        let length = usize::try_from(self.number()?).ok().filter(|length| *length <= MAX_ID_BYTES);
        let length = length.ok_or_else(|| bad_id(IdError::TooLong))?;
        let (text, rest) = self.0.split_at_checked(length).ok_or_else(ends_early)?;
        self.0 = rest;
        str::from_utf8(text).map_err(|_| WireError::new("a text is not UTF-8"))
    }

    pub(super) fn id<T>(&mut self, is_uuid: bool) -> Result<T, WireError>
    where
        T: std::str::FromStr<Err = IdError>,
    {
        if is_uuid {
            let uuid = Uuid::from_bytes(self.bytes()?);
            uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()).parse()
        } else {
            self.text()?.parse()
        }
        .map_err(bad_id)
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, WireError> {
        from_unix(Some(self.number()?))
    }

    /// The inverse of [`Writer::difference`](super::writer::Writer::difference).
    pub(super) fn time_after(&mut self, than: Timestamp) -> Result<Timestamp, WireError> {
        from_unix(than.as_unix().checked_add_signed(self.signed()?))
    }

    /// The inverse of [`Writer::signed`](super::writer::Writer::signed).
    pub(super) fn signed(&mut self) -> Result<i64, WireError> {
        let zigzag = self.number()?;
        let half = (zigzag >> 1).cast_signed();
        Ok(if zigzag & 1 == 0 { half } else { !half })
    }

    /// Checks that nothing follows.
    pub(super) fn end(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::new("something follows its end")) }
    }
}

pub(super) fn from_unix(seconds: Option<u64>) -> Result<Timestamp, WireError> {
    seconds
        .filter(|seconds| *seconds <= Timestamp::MAX.as_unix())
        .map(Timestamp::from_unix)
        .ok_or_else(|| WireError::new("a time is out of its bounds"))
}

fn ends_early() -> WireError {
    WireError::new("unexpected end of input")
}

pub(super) fn bad_id(error: IdError) -> WireError {
    WireError::new(error.to_string())
}
