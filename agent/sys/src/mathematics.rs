//! The four functions of C's `<math.h>` that the agent and its libraries call, in the program itself.
//!
//! `libm.so` would be loaded for them alone: half a megabyte of what is resident (`docs/design/cost.md`). The crate `libm` is
//! as exact: within one unit of the last place. A program that calls a fifth one loads the library again, and is no less right.

macro_rules! provide {
    ($($name:ident($($argument:ident),+);)+) => {$(
        #[expect(unsafe_code, reason = "the linker knows C functions by their bare names")]
        // SAFETY: it is what C says a function of this name is, and calls nothing but safe code.
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: f64),+) -> f64 {
            libm::$name($($argument),+)
        }
    )+};
}

provide! {
    exp(x);
    exp2(x);
    log(x);
    pow(x, y);
}

#[cfg(test)]
mod tests {
    use std::f64::consts::{E, LN_2, SQRT_2};

    use proptest::prelude::*;

    use super::*;

    /// Values of C11 annex F.10 and of the functions' definitions.
    #[test]
    fn they_are_what_their_names_say() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for (name, got, want) in [
            ("exp(0)", exp(0.0), 1.0),
            ("exp(1)", exp(1.0), E),
            ("exp(-inf)", exp(-inf), 0.0),
            ("exp(1000)", exp(1_000.0), inf),
            ("exp2(-3)", exp2(-3.0), 0.125),
            ("exp2(0.5)", exp2(0.5), SQRT_2),
            ("exp2(1024)", exp2(1_024.0), inf),
            ("log(1)", log(1.0), 0.0),
            ("log(2)", log(2.0), LN_2),
            ("log(0)", log(0.0), -inf),
            ("pow(2, 10)", pow(2.0, 10.0), 1_024.0),
            ("pow(2, 0.5)", pow(2.0, 0.5), SQRT_2),
            ("pow(nan, 0)", pow(nan, 0.0), 1.0),
            ("pow(0, -1)", pow(0.0, -1.0), inf),
        ] {
            let off = (got - want).abs();
            assert!(
                got.to_bits() == want.to_bits() || off <= f64::EPSILON * want.abs(),
                "{name} is {got}"
            );
        }
        assert!(log(-1.0).is_nan() && exp(nan).is_nan() && pow(-1.0, 0.5).is_nan());
    }

    proptest! {
        #[test]
        fn they_undo_each_other(x in -500.0f64..500.0, base in 0.01f64..100.0) {
            prop_assert!((log(exp(x)) - x).abs() <= 1e-12 * x.abs().max(1.0));
            let (direct, by_parts) = (pow(base, x / 50.0), exp(x / 50.0 * log(base)));
            prop_assert!((direct - by_parts).abs() <= 1e-12 * direct);
            prop_assert!((exp2(x) - pow(2.0, x)).abs() <= 1e-14 * exp2(x));
        }
    }
}
