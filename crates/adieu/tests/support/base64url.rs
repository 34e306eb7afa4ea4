//! A second implementation of base64url, so that a bug in the crate's own encoder does not hide one in its decoder.

/// The canonical text of `bytes`.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    (0..bits.len())
        .step_by(6)
        .map(|at| {
            let group = format!("{:0<6}", &bits[at..bits.len().min(at + 6)]);
            let value = u8::from_str_radix(&group, 2).unwrap();
            char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[usize::from(value)])
        })
        .collect()
}
