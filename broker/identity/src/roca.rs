//! RSA moduli of the weak generator known as ROCA (CVE-2017-15361).

/// Odd primes up to 167: their product divides the weak generator's modulus for 512-bit keys and larger ones.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether the modulus (big-endian) is a power of 65537 modulo each of the primes, as both factors of
/// such a key are. A sound key passes for one by chance with a probability below 2^-27.
pub(crate) fn is_weak(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let rest = modulus
            .iter()
            .fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let powers = std::iter::successors(Some(1), |power| Some(power * 65537 % prime));
        powers.take(*prime as usize).any(|power| power == rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times_65537(number: &[u8]) -> Vec<u8> {
        let mut shifted = number.to_vec();
        shifted.extend([0, 0]);
        let mut carry = 0;
        for at in 0..shifted.len() {
            let (low, high) = (number.len().checked_sub(at + 1), shifted.len() - at - 1);
            let sum = u16::from(shifted[high]) + low.map_or(0, |low| u16::from(number[low])) + carry;
            (shifted[high], carry) = ((sum & 0xff) as u8, sum >> 8);
        }
        shifted
    }

    #[test]
    fn attack_7_tells_weak_moduli_from_others() {
        let weak = (0..128).fold(vec![1], |number, _| times_65537(&number));
        assert_eq!(times_65537(&[1]), [1, 0, 1]);
        assert!(is_weak(&weak));
        let mut other = weak;
        if let Some(last) = other.last_mut() {
            *last = last.wrapping_add(2);
        }
        assert!(!is_weak(&other));
    }
}
