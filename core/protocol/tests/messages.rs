//! What holds for every message in every version, whatever it is.

use bytes::Bytes;
use ottla_protocol::messages::{ALL, ApiKey, Message};
use proptest::prelude::*;

/// Every message in every version.
fn all_versions() -> impl Iterator<Item = (&'static Message, i16)> {
    ALL.iter().flat_map(|m| m.versions.clone().map(move |v| (m, v)))
}

#[test]
fn kafka_4_4_has_91_living_apis_and_618_request_and_response_versions() {
    assert_eq!(ApiKey::ALL.len(), 91);
    let versions: usize = ApiKey::ALL.iter().map(|key| key.versions().count() * 2).sum();
    assert_eq!(versions, 618);
}

#[test]
fn the_default_of_every_message_reads_back_in_every_version() {
    for (message, version) in all_versions() {
        let Ok(bytes) = (message.default)(version) else { continue };
        let again = (message.recode)(bytes.clone(), version).unwrap().unwrap();
        assert_eq!(again, bytes, "{} v{version}", message.name);
    }
}

#[test]
fn a_version_that_a_message_lacks_is_refused() {
    for message in ALL {
        for version in [message.versions.start() - 1, message.versions.end() + 1] {
            let error = (message.recode)(Bytes::from(vec![0; 64]), version).unwrap_err();
            assert_eq!(error.to_string(), format!("at byte 0: there is no version {version}"));
        }
    }
}

#[test]
fn every_cut_of_a_message_is_an_error_and_not_a_panic() {
    for (message, version) in all_versions() {
        let Ok(bytes) = (message.default)(version) else { continue };
        for cut in 0..bytes.len() {
            let short = bytes.slice(..cut);
            assert!((message.recode)(short, version).is_err(), "{} v{version} cut at {cut}", message.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is read from any bytes at all writes back to something that reads the same.
    #[test]
    fn whatever_is_read_writes_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        for (message, version) in all_versions() {
            let Ok(Ok(once)) = (message.recode)(bytes.clone(), version) else { continue };
            let twice = (message.recode)(once.clone(), version).unwrap().unwrap();
            prop_assert_eq!(once, twice, "{} v{}", message.name, version);
        }
    }
}
