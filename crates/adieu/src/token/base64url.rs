//! Base64url as JWS has it (RFC 7515 §2), in its one canonical form: no padding, no other character, no bit that is set
//! and says nothing. Two different texts never decode to the same bytes, so a token has exactly one spelling.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Beside every value that six bits can have.
const INVALID: u32 = 1 << 31;

/// The text is not canonical base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotCanonical;

/// The value of each byte, shifted to each of the four places that it can have in a group.
static VALUES: [[u32; 256]; 4] = values();

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which checks the bounds")]
const fn values() -> [[u32; 256]; 4] {
    let mut tables = [[INVALID; 256]; 4];
    let mut value = 0;
    while value < 64 {
        let byte = ALPHABET[value] as usize;
        tables[0][byte] = (value as u32) << 18;
        tables[1][byte] = (value as u32) << 12;
        tables[2][byte] = (value as u32) << 6;
        tables[3][byte] = value as u32;
        value += 1;
    }
    tables
}

#[inline(always)]
#[allow(clippy::indexing_slicing, reason = "a byte is always inside a table of 256")]
fn value_at<const PLACE: usize>(byte: u8) -> u32 {
    VALUES[PLACE][byte as usize]
}

/// How many bytes a text of this length decodes to; `None` when no text of this length is base64url.
pub(super) const fn decoded_len(text_len: usize) -> Option<usize> {
    match text_len % 4 {
        0 => Some(text_len / 4 * 3),
        2 => Some(text_len / 4 * 3 + 1),
        3 => Some(text_len / 4 * 3 + 2),
        _ => None,
    }
}

/// Decodes into the front of `buffer` and returns what was written.
///
/// # Errors
/// When the text is not canonical, or the buffer is too small for it.
pub(super) fn decode_into<'a>(text: &[u8], buffer: &'a mut [u8]) -> Result<&'a [u8], NotCanonical> {
    let length = decoded_len(text.len()).ok_or(NotCanonical)?;
    let output = buffer.get_mut(..length).ok_or(NotCanonical)?;

    // Errors are gathered in one word and looked at once, at the end: the loop has no branch.
    let mut seen = 0;
    let (pairs, text) = text.as_chunks::<8>();
    let (sextets, output_rest) = output.as_chunks_mut::<6>();
    for (&[a, b, c, d, e, f, g, h], bytes) in pairs.iter().zip(sextets) {
        let high = value_at::<0>(a) | value_at::<1>(b) | value_at::<2>(c) | value_at::<3>(d);
        let low = value_at::<0>(e) | value_at::<1>(f) | value_at::<2>(g) | value_at::<3>(h);
        seen |= high | low;
        // As one array: byte by byte, each of them would be shifted and stored on its own.
        let [_, _, six @ ..] = (u64::from(high) << 24 | u64::from(low)).to_be_bytes();
        *bytes = six;
    }
    let (groups, rest) = text.as_chunks::<4>();
    let (triples, tail) = output_rest.as_chunks_mut::<3>();
    for (&[a, b, c, d], triple) in groups.iter().zip(triples) {
        let bits = value_at::<0>(a) | value_at::<1>(b) | value_at::<2>(c) | value_at::<3>(d);
        seen |= bits;
        let [_, x, y, z] = bits.to_be_bytes();
        *triple = [x, y, z];
    }
    match (rest, tail) {
        (&[a, b], [x]) => {
            let bits = value_at::<0>(a) | value_at::<1>(b);
            // The low four bits of the last character are not part of the byte.
            seen |= bits | if bits & 0xFFFF == 0 { 0 } else { INVALID };
            *x = bits.to_be_bytes()[1];
        }
        (&[a, b, c], [x, y]) => {
            let bits = value_at::<0>(a) | value_at::<1>(b) | value_at::<2>(c);
            seen |= bits | if bits & 0xFF == 0 { 0 } else { INVALID };
            let [_, first, second, _] = bits.to_be_bytes();
            (*x, *y) = (first, second);
        }
        _ => {}
    }
    if seen & INVALID == 0 { Ok(output) } else { Err(NotCanonical) }
}

/// Decodes into a buffer that keeps its size, so that the next text costs no allocation and no clearing.
///
/// # Errors
/// When the text is not canonical.
pub(super) fn decode_reusing<'a>(text: &[u8], buffer: &'a mut Vec<u8>) -> Result<&'a [u8], NotCanonical> {
    let length = decoded_len(text.len()).ok_or(NotCanonical)?;
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    decode_into(text, buffer)
}

/// Decodes into a new buffer.
///
/// # Errors
/// When the text is not canonical.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, NotCanonical> {
    let mut bytes = vec![0; decoded_len(text.len()).ok_or(NotCanonical)?];
    decode_into(text.as_bytes(), &mut bytes)?;
    Ok(bytes)
}

/// Appends the canonical text of `bytes`.
#[allow(clippy::indexing_slicing, reason = "six bits are always inside an alphabet of 64")]
pub(super) fn encode_onto(bytes: &[u8], text: &mut String) {
    text.reserve(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().zip([16, 8, 0]).fold(0, |group, (byte, shift)| group | u32::from(*byte) << shift);
        for shift in [18, 12, 6, 0].into_iter().take(chunk.len() + 1) {
            text.push(char::from(ALPHABET[(group >> shift & 63) as usize]));
        }
    }
}

/// The canonical text of `bytes`.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    encode_onto(bytes, &mut text);
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 4648 §10, without the padding.
    #[test]
    fn the_vectors_of_rfc_4648() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(decode("-_-_").unwrap(), [0xFB, 0xFF, 0xBF]);
    }

    #[test]
    fn another_spelling_of_the_same_bytes_is_refused() {
        for text in ["Zg==", "Zg=", "Zh", "Zm9", "Zm8=", "Z", "Zm9vY", "Zm9v\n", "+_-_", "/_-_", "Zm 8", "Zm9v.", "Zmé"]
        {
            assert_eq!(decode(text), Err(NotCanonical), "{text}");
        }
    }

    #[test]
    fn a_buffer_that_is_too_small_is_refused() {
        assert_eq!(decode_into(b"Zm9v", &mut [0; 2]), Err(NotCanonical));
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn what_decodes_has_one_spelling(text in "[A-Za-z0-9_=+/-]{0,12}") {
            if let Ok(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
