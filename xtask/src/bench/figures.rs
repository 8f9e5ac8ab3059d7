//! Times of many runs, and the few numbers that are told of them.

use std::time::Duration;

/// In the order in which they were taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    milliseconds: Vec<f64>,
}

impl Figures {
    pub(super) fn push(&mut self, time: Duration) {
        self.milliseconds.push(time.as_secs_f64() * 1000.0);
    }

    pub(super) fn median(&self) -> f64 {
        median(self.milliseconds.clone())
    }

    /// By the nearest rank: of fewer than a hundred runs, the 99th is the longest.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.milliseconds.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
    }

    /// How many times as long as `others`, as the median over the pairs.
    pub(super) fn times(&self, others: &Self) -> f64 {
        self.over(others).median()
    }

    /// Each divided by its pair.
    pub(super) fn over(&self, others: &Self) -> Self {
        let pairs = self.milliseconds.iter().zip(&others.milliseconds);
        Self { milliseconds: pairs.map(|(own, other)| own / other).collect() }
    }

    pub(super) fn least(&self) -> f64 {
        self.milliseconds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Median, 99th percentile and range as cells of a table.
    pub(super) fn cells(&self) -> String {
        let least = self.least();
        let most = self.milliseconds.iter().copied().fold(0.0, f64::max);
        let [median, high, least, most] =
            [self.median(), self.percentile(99), least, most].map(milliseconds);
        format!("{median} | {high} | {least}..{most}")
    }
}

/// Two digits below 10, so that a tenth of a millisecond is seen where it counts.
pub(super) fn milliseconds(number: f64) -> String {
    if number < 10.0 { format!("{number:.2}") } else { format!("{number:.0}") }
}

pub(super) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_percentiles_and_ratios() {
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        for n in 1..=100 {
            ours.push(Duration::from_millis(n));
            theirs.push(Duration::from_millis(n * 3));
        }
        assert!((ours.median() - 50.5).abs() < 1e-9);
        assert!((ours.percentile(99) - 99.0).abs() < 1e-9);
        assert!((theirs.times(&ours) - 3.0).abs() < 1e-9);
        assert_eq!(ours.cells(), "50 | 99 | 1.00..100");
    }
}
