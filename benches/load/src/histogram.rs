//! Latencies in log-linear buckets: fixed memory, under 1 % error, no work beyond an increment.

const SUB_BITS: u32 = 7;
const SUB: usize = 1 << SUB_BITS;

pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Histogram { counts: vec![0; SUB * (65 - SUB_BITS as usize)], total: 0 }
    }

    pub fn record(&mut self, nanoseconds: u64) {
        self.counts[Self::index(nanoseconds)] += 1;
        self.total += 1;
    }

    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    pub fn count(&self) -> u64 {
        self.total
    }

    /// The value (middle of its bucket) below which `share` of all records lie; 0 when empty.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Self::middle(index);
            }
        }
        0.0
    }

    fn index(value: u64) -> usize {
        let bits = 64 - value.leading_zeros();
        if bits <= SUB_BITS {
            return value as usize;
        }
        let shift = bits - SUB_BITS - 1;
        // `value >> shift` lies in SUB..2*SUB: each power of two gets SUB buckets of equal width.
        (shift as usize) * SUB + (value >> shift) as usize
    }

    fn middle(index: usize) -> f64 {
        if index < 2 * SUB {
            return index as f64;
        }
        let shift = index / SUB - 1;
        let base = (index - shift * SUB) as f64;
        (base + 0.5) * 2f64.powi(shift as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn every_value_falls_within_one_percent_of_its_bucket() {
        for exponent in 0..40 {
            for step in 0..50u64 {
                let value = (1u64 << exponent) + step * (1u64 << exponent) / 50;
                let mut histogram = Histogram::new();
                histogram.record(value);
                let got = histogram.quantile(0.5);
                assert!((got - value as f64).abs() <= value as f64 * 0.01, "{value}: {got}");
            }
        }
    }

    #[test]
    fn the_largest_value_has_a_bucket() {
        let mut histogram = Histogram::new();
        histogram.record(u64::MAX);
        assert_eq!(histogram.count(), 1);
    }

    #[test]
    fn quantiles_of_a_ramp() {
        let mut histogram = Histogram::new();
        for value in 1..=100_000 {
            histogram.record(value);
        }
        assert!((histogram.quantile(0.5) / 50_000.0 - 1.0).abs() < 0.01);
        assert!((histogram.quantile(0.99) / 99_000.0 - 1.0).abs() < 0.01);
    }
}
