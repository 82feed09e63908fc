//! A batch under another codec: what a broker stores where a topic's `compression.type` is not `producer`.

use super::{BATCH_HEADER_BYTES, Batch, BatchError, BatchHeader, Scratch};
use crate::compression::{Codec, Compression, Limits};

impl Batch {
    /// The same records, compressed with `codec`. Only the compression, the length and the CRC change; the records
    /// are inflated whole meanwhile, up to what `limits` allows.
    ///
    /// # Errors
    /// If the records cannot be inflated, or may not; if the codec fails, or the batch would be too long.
    pub fn recompressed(
        &self,
        codec: Codec,
        limits: &Limits,
        scratch: &mut Scratch,
    ) -> Result<Self, BatchError> {
        let compression = self.header().attributes.compression()?;
        let block = self.record_block();
        let mut inflated = Vec::new();
        let records: &[u8] = match compression {
            Compression::None => &block,
            _ => {
                scratch.decompressor.decompress(compression, &block, limits, &mut inflated)?;
                &inflated
            }
        };
        let records = match codec.compression() {
            Compression::None => records,
            _ => scratch.compressor.compress(codec, records)?,
        };
        let mut header = BatchHeader {
            attributes: self.header().attributes.with_compression(codec.compression()),
            ..*self.header()
        };
        let encoded = header.seal(records)?;
        let mut bytes = Vec::with_capacity(BATCH_HEADER_BYTES + records.len());
        bytes.extend_from_slice(&encoded);
        bytes.extend_from_slice(records);
        Ok(Self::from_parts(header, bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compression::Compressor,
        record::{BatchBuilder, Header, Seal},
        types::ProducerId,
    };

    fn batch(compression: Compression) -> Batch {
        let mut builder = BatchBuilder::new(Vec::new(), 1 << 20);
        for i in 0..50u8 {
            let value = vec![i; 300];
            builder
                .push(1000 + i64::from(i), Some(&[i]), Some(&value), &[Header::new("h", Some(&[i]))])
                .unwrap();
        }
        let seal = Seal {
            codec: Codec::new(compression),
            producer_id: ProducerId(7),
            producer_epoch: 2,
            base_sequence: 40,
            ..Seal::default()
        };
        builder.seal(&seal, &mut Compressor::new()).unwrap()
    }

    #[test]
    fn every_codec_turns_into_every_other_with_the_same_records_and_header() {
        let mut scratch = Scratch::new();
        for from in Compression::ALL {
            for to in Compression::ALL {
                let before = batch(from);
                let after = before.recompressed(Codec::new(to), &Limits::BROKER, &mut scratch).unwrap();
                after.check_crc().unwrap();
                // As if it had come compressed so.
                assert_eq!(after.bytes(), batch(to).bytes(), "{from} to {to}");
                assert_eq!(Batch::new(after.bytes().clone()).unwrap().header(), after.header());
            }
        }
    }

    #[test]
    fn a_block_that_inflates_too_far_is_refused() {
        let limits = Limits { bytes_max: 1000, ..Limits::BROKER };
        let error =
            batch(Compression::Zstd).recompressed(Codec::NONE, &limits, &mut Scratch::new()).unwrap_err();
        assert!(matches!(error, BatchError::Decompress(_)), "{error}");
    }
}
