//! Prints a Fibonacci number: fibonacci(0) is 0, fibonacci(1) is 1, and each further one is the sum of the two before it.

use std::process::exit;

/// The last one that 64 bits hold.
const LARGEST: u64 = 93;

fn fibonacci(n: u64) -> u64 {
    let (mut a, mut b) = (0u64, 1u64);
    for _ in 0..n {
        (a, b) = (b, a.wrapping_add(b));
    }
    a
}

fn argument() -> Option<u64> {
    let mut words = std::env::args().skip(1);
    let n = words.next()?.parse().ok()?;
    (n <= LARGEST && words.next().is_none()).then_some(n)
}

fn main() {
    match argument() {
        Some(n) => println!("fibonacci({n}) = {}", fibonacci(n)),
        None => {
            eprintln!("usage: fibonacci N, with N from 0 to {LARGEST}");
            exit(2);
        }
    }
}
