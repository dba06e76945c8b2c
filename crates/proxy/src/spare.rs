//! A key exchange begun ahead of its session, so that no client waits for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bip324_transport::v1::Magic;
use bip324_transport::v2::{EntropyError, KeyExchange, Role};

/// One key exchange or none. It leaves with the session that takes it: no key is ever used twice.
#[derive(Default)]
pub(crate) struct Spare(Mutex<Option<KeyExchange>>);

impl Spare {
    /// The one that is there, or else a new one.
    pub(crate) fn take(&self, magic: Magic) -> Result<KeyExchange, EntropyError> {
        let spare = self.lock().take();
        spare.map_or_else(|| KeyExchange::new(Role::Initiator, magic), |spare| Ok(spare.on(magic)))
    }

    /// Makes another if there is none. Belongs where a session waits for its peer anyway.
    pub(crate) fn restock(&self) {
        if self.lock().is_none() {
            // Without randomness there is none, and the next session says why.
            let spare = KeyExchange::new(Role::Initiator, Magic::BITCOIN).ok();
            *self.lock() = spare;
        }
    }

    /// It is whole or not there: a panic elsewhere changes nothing.
    fn lock(&self) -> MutexGuard<'_, Option<KeyExchange>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bip324_transport::v2::KEY_LEN;

    use super::*;

    #[test]
    fn no_key_is_given_twice() {
        let spare = Spare::default();
        let mut seen = BTreeSet::new();
        for restocked in [false, true, true, false, false] {
            if restocked {
                spare.restock();
                spare.restock();
            }
            assert_eq!(spare.lock().is_some(), restocked);
            let flight = spare.take(Magic::REGTEST).unwrap().first_flight();
            assert!(seen.insert(flight[..KEY_LEN].to_vec()));
        }
    }
}
