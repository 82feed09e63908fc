//! A record as the peers exchange it, and a set of them that has every awkward shape.

use serde::{Deserialize, Serialize};

/// A line of JSON; bytes are base64, which [`serde_json`] leaves as text: what went in is compared with what
/// came out, so nobody here needs to look inside.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PeerRecord {
    /// Where it goes, and where it was found.
    pub partition: i32,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Base64, or null.
    pub key: Option<String>,
    /// Base64, or null.
    pub value: Option<String>,
    /// Name and base64 or null, in order; names repeat.
    pub headers: Vec<(String, Option<String>)>,
}

/// Bytes of the large value: near the default limit of a batch.
pub const LARGE_BYTES: usize = 900_000;

/// Records of every shape over `partitions`: null and empty keys and values, headers that repeat or have no value,
/// text beyond ASCII, and one large value.
pub fn every_shape(partitions: i32, base_timestamp: i64) -> Vec<PeerRecord> {
    let text = |bytes: &[u8]| Some(base64(bytes));
    let mut records = Vec::new();
    let mut add = |key: Option<String>, value: Option<String>, headers: Vec<(&str, Option<String>)>| {
        let n = records.len() as i64;
        records.push(PeerRecord {
            partition: n as i32 % partitions,
            timestamp: base_timestamp + n,
            key,
            value,
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        });
    };
    add(None, text(b"no key"), vec![]);
    add(text(b"no value"), None, vec![]);
    add(text(b"empty value"), text(b""), vec![]);
    add(text(b""), text(b"empty key"), vec![]);
    add(text("schlüssel-ключ-鍵".as_bytes()), text("wert-значение-値".as_bytes()), vec![]);
    add(text(b"h"), text(b"one header"), vec![("trace", text(b"1"))]);
    add(
        text(b"h"),
        text(b"the same name twice"),
        vec![("a", text(b"1")), ("b", text(b"2")), ("a", text(b"3"))],
    );
    add(text(b"h"), text(b"null and empty"), vec![("null", None), ("empty", text(b""))]);
    add(text(b"every byte"), text(&(0..=255).collect::<Vec<u8>>()), vec![]);
    let large: Vec<u8> =
        (0..LARGE_BYTES as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    add(text(b"large"), text(&large), vec![]);
    for i in 0..500 {
        add(text(format!("key-{}", i % 7).as_bytes()), text(format!("value number {i}").as_bytes()), vec![]);
    }
    records
}

/// RFC 4648, with padding.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, &b| bits << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63] as char;
            text.push(if i <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(super::base64(plain.as_bytes()), text);
        }
    }
}
