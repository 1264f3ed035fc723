use super::super::marks::{BadLimits, DEFAULT_HIGH, Pressure, WaterMarks};
use super::rng::Rng;

fn limited(high: Option<i64>, low: Option<i64>) -> Result<(usize, usize), BadLimits> {
    let mut marks = WaterMarks::default();
    marks.set_limits(high, low).map(|()| marks.limits())
}

#[test]
fn limits_follow_asyncio() {
    assert_eq!(WaterMarks::default().limits(), (16 * 1024, 64 * 1024));
    assert_eq!(limited(None, None), Ok((16 * 1024, DEFAULT_HIGH)));
    assert_eq!(limited(Some(1000), None), Ok((250, 1000)));
    assert_eq!(limited(Some(3), None), Ok((0, 3)));
    assert_eq!(limited(Some(0), None), Ok((0, 0)));
    assert_eq!(limited(None, Some(10)), Ok((10, 40)));
    assert_eq!(limited(None, Some(0)), Ok((0, 0)));
    assert_eq!(limited(Some(7), Some(7)), Ok((7, 7)));
    assert_eq!(
        limited(Some(i64::MAX), Some(0)),
        Ok((0, usize::try_from(i64::MAX).unwrap()))
    );
    // A computed mark past every buffer is no error.
    assert_eq!(
        limited(None, Some(i64::MAX)),
        Ok((usize::try_from(i64::MAX).unwrap(), usize::MAX))
    );
}

#[test]
fn bad_limits_have_the_text_of_asyncio_and_change_nothing() {
    // The texts were printed by CPython's _FlowControlMixin.
    for (high, low, text) in [
        (
            Some(5),
            Some(10),
            "high (5) must be >= low (10) must be >= 0",
        ),
        (Some(-1), None, "high (-1) must be >= low (-1) must be >= 0"),
        (Some(-5), None, "high (-5) must be >= low (-2) must be >= 0"),
        (None, Some(-1), "high (-4) must be >= low (-1) must be >= 0"),
        (
            Some(10),
            Some(-1),
            "high (10) must be >= low (-1) must be >= 0",
        ),
        (
            None,
            Some(i64::MIN),
            "high (-36893488147419103232) must be >= low (-9223372036854775808) must be >= 0",
        ),
    ] {
        let mut marks = WaterMarks::TWISTED;
        assert_eq!(marks.set_limits(high, low).unwrap_err().to_string(), text);
        assert_eq!(marks, WaterMarks::TWISTED);
    }
}

#[test]
fn pauses_above_high_and_resumes_at_low() {
    let mut marks = WaterMarks::default();
    marks.set_limits(Some(100), Some(20)).unwrap();
    assert_eq!(marks.update(100), None);
    assert_eq!(marks.update(101), Some(Pressure::Pause));
    assert!(marks.paused());
    assert_eq!(marks.update(1000), None);
    assert_eq!(marks.update(21), None);
    assert_eq!(marks.update(20), Some(Pressure::Resume));
    assert!(!marks.paused());
    assert_eq!(marks.update(0), None);
}

#[test]
fn high_zero_pauses_on_the_first_byte_and_resumes_when_empty() {
    let mut marks = WaterMarks::default();
    marks.set_limits(Some(0), None).unwrap();
    assert_eq!(marks.update(0), None);
    assert_eq!(marks.update(1), Some(Pressure::Pause));
    assert_eq!(marks.update(1), None);
    assert_eq!(marks.update(0), Some(Pressure::Resume));
}

#[test]
fn growing_never_resumes() {
    let mut marks = WaterMarks::default();
    marks.set_limits(Some(10), Some(5)).unwrap();
    assert_eq!(marks.grown(11), Some(Pressure::Pause));
    // asyncio: raising the limits over what is buffered does not resume, the next send does.
    marks.set_limits(Some(100), Some(50)).unwrap();
    assert_eq!(marks.grown(11), None);
    assert!(marks.paused());
    assert_eq!(marks.update(10), Some(Pressure::Resume));
    // Lowering them pauses at once.
    marks.set_limits(Some(5), Some(5)).unwrap();
    assert_eq!(marks.grown(10), Some(Pressure::Pause));
}

#[test]
fn model() {
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let mut marks = WaterMarks::default();
        let (mut low, mut high) = marks.limits();
        let mut paused = false;
        for _ in 0..2000 {
            if rng.chance(50) {
                high = rng.below(200);
                low = rng.below(high + 1);
                let [low, high] = [low, high].map(|mark| i64::try_from(mark).ok());
                marks.set_limits(high, low).unwrap();
            }
            let size = rng.below(250);
            let expected = match (paused, size > high, size <= low) {
                (false, true, _) => Some(Pressure::Pause),
                (true, _, true) => Some(Pressure::Resume),
                _ => None,
            };
            assert_eq!(marks.update(size), expected);
            paused ^= expected.is_some();
            assert_eq!(marks.paused(), paused);
        }
    }
}
