//! The inverse of the ElligatorSwift map, straight from BIP324's text ("Test vectors and reference
//! code": `XSwiftECInv`). libsecp256k1 has it too, but does not let a caller choose the case.

use num_bigint::BigUint;

/// The integers modulo secp256k1's prime.
pub(super) struct Field {
    p: BigUint,
    /// A square root of -3: the one that is a square itself.
    c: BigUint,
}

impl Field {
    pub(super) fn new() -> Self {
        let p = (BigUint::from(1_u8) << 256) - (BigUint::from(1_u8) << 32) - 977_u16;
        let mut field = Self { c: BigUint::ZERO, p };
        field.c = field.sqrt(&field.neg(&3_u8.into())).unwrap();
        field
    }

    /// The `t` for which `u ‖ t` encodes the x coordinate `x`, in one of up to eight ways.
    pub(super) fn inverse(&self, x: &[u8; 32], u: &[u8; 32], case: u8) -> Option<[u8; 32]> {
        let (x, u) = (&BigUint::from_bytes_be(x), &(BigUint::from_bytes_be(u) % &self.p));
        let g = &(self.power(u, 3) + 7_u8);
        let (v, s) = match case & 2 {
            0 => {
                if self.on_curve(&self.neg(&(x + u))) {
                    return None;
                }
                let s = self.divide(&self.neg(g), &(u * u + u * x + x * x));
                (x.clone(), s)
            }
            _ => {
                let s = x + self.neg(u);
                if self.is_zero(&s) {
                    return None;
                }
                let radicand = self.neg(&s) * (g * 4_u8 + u * u * &s * 3_u8);
                let r = self.sqrt(&radicand)?;
                if case & 1 == 1 && self.is_zero(&r) {
                    return None;
                }
                let v = self.divide(&(self.divide(&r, &s) + self.neg(u)), &2_u8.into());
                (v, s)
            }
        };
        let w = self.sqrt(&s)?;
        let w = if matches!(case & 5, 0 | 5) { self.neg(&w) } else { w };
        let c = if case & 1 == 0 { self.neg(&self.c) } else { self.c.clone() };
        let t = w * (self.divide(&(u * (c + 1_u8)), &2_u8.into()) + v);
        Some(self.bytes(&t))
    }

    fn on_curve(&self, x: &BigUint) -> bool {
        self.sqrt(&(self.power(x, 3) + 7_u8)).is_some()
    }

    fn sqrt(&self, a: &BigUint) -> Option<BigUint> {
        let root = a.modpow(&((&self.p + 1_u8) >> 2), &self.p);
        (self.power(&root, 2) == a % &self.p).then_some(root)
    }

    fn power(&self, a: &BigUint, exponent: u8) -> BigUint {
        a.modpow(&exponent.into(), &self.p)
    }

    fn divide(&self, a: &BigUint, b: &BigUint) -> BigUint {
        a * b.modpow(&(&self.p - 2_u8), &self.p) % &self.p
    }

    fn neg(&self, a: &BigUint) -> BigUint {
        &self.p - a % &self.p
    }

    fn is_zero(&self, a: &BigUint) -> bool {
        a % &self.p == BigUint::ZERO
    }

    fn bytes(&self, a: &BigUint) -> [u8; 32] {
        let short = (a % &self.p).to_bytes_be();
        let mut bytes = [0; 32];
        bytes[32 - short.len()..].copy_from_slice(&short);
        bytes
    }
}
