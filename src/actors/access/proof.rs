//! The secrets themselves: made, hashed, compared. Nothing here is remembered.

use nixfleet_model::access::TotpSteps;
use nixfleet_protocol::Time;
use ring::rand::SecureRandom as _;
use subtle::ConstantTimeEq as _;

use crate::actors::store::SecretHash;
use crate::config::Secret;

/// The system gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandom;

/// 256 random bits, base64url.
pub fn random() -> Result<String, NoRandom> {
    let mut bytes = [0_u8; 32];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(data_encoding::BASE64URL_NOPAD.encode(&bytes))
}

/// A secret for authenticators: 160 random bits, base32, as RFC 4226 wants it.
pub fn totp_secret() -> Result<String, NoRandom> {
    let mut bytes = [0_u8; 20];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(data_encoding::BASE32_NOPAD.encode(&bytes))
}

/// SHA-256: what is kept instead of the secret.
pub fn hash(secret: &str) -> SecretHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, secret.as_bytes()).as_ref());
    hash
}

/// Whether two hashes are the same, in constant time.
pub(super) fn same(a: &SecretHash, b: &SecretHash) -> bool {
    a.ct_eq(b).into()
}

/// Whether the password is the one of the hash. Takes as long as the hash says; not for the runtime's threads.
pub(super) fn is_password(password: &Secret, hash: &Secret) -> bool {
    bcrypt::verify(password.expose(), hash.expose()).unwrap_or(false)
}

/// The six digits of a step (RFC 6238 with SHA-1, as every authenticator has it).
pub fn totp_code(key: &[u8], step: u64) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let tag = ring::hmac::sign(&key, &step.to_be_bytes());
    let bytes = tag.as_ref();
    let at = usize::from(bytes[bytes.len() - 1] & 0x0f);
    let number = u32::from_be_bytes([bytes[at] & 0x7f, bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    format!("{:06}", number % 1_000_000)
}

/// Takes a code if it is right and was not used; the step that it was of.
pub(super) fn take_totp(steps: &mut TotpSteps, key: &[u8], code: &str, now: Time) -> Option<u64> {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    steps.take(now, |step| totp_code(key, step).as_bytes().ct_eq(code.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // The vectors of the RFC have eight digits; these are their last six.
        let key = b"12345678901234567890";
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924")] {
            assert_eq!(totp_code(key, seconds / 30), code);
        }
    }

    #[test]
    fn random_texts_have_256_bits_and_differ() {
        let (a, b) = (random().unwrap(), random().unwrap());
        assert_eq!(a.len(), 43);
        assert_ne!(a, b);
    }
}
