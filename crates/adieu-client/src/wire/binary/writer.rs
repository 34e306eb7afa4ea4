//! Writes numbers, texts and times.

use uuid::Uuid;

use adieu::time::Timestamp;

pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Writes LEB128.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    /// Writes how much later a time is than another.
    pub(super) fn difference(&mut self, time: Timestamp, than: Timestamp) {
        // Both are before the year 10000.
        self.signed(time.as_unix().cast_signed() - than.as_unix().cast_signed());
    }

    /// Writes twice a number, or twice its absolute value less one if it is negative (zigzag).
    pub(super) fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63).cast_unsigned());
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Returns the UUID whose usual text form (RFC 9562 §4, in lower case) is exactly this text.
pub(super) fn usual_uuid(text: &str) -> Option<Uuid> {
    if text.len() != uuid::fmt::Hyphenated::LENGTH {
        return None;
    }
    let uuid = Uuid::try_parse(text).ok()?;
    (*uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == *text).then_some(uuid)
}
