//! How long a half looks for news before it sleeps.
//!
//! To sleep and be woken takes two system calls and two switches of a processor, which is more than the other half
//! often needs to answer. So a half looks for a while first, but only when news came soon of late, and never longer than
//! [`MOST`]. Where all processors are busy a look does harm: the other half may need the very processor that looks, and
//! who uses a processor while it waits gets it later when it has work. So after a look in vain a half goes to sleep at
//! once some times, and more often each time that happens again; and when the kernel gave the processor to somebody else
//! during a look, it does so for long.

use std::time::{Duration, Instant};

/// Longest look: about what a sleep and a wake-up cost where processors are virtual.
const MOST: Duration = Duration::from_micros(30);

/// Waits without a look after one in vain, at first and at most.
const RESTS: (u32, u32) = (8, 4096);

/// A look that took this long was interrupted: somebody else had the processor.
const INTERRUPTED: Duration = Duration::from_micros(300);

/// Looks between two looks at the clock.
const BATCH: u32 = 16;

/// See the module.
pub struct Patience {
    /// Whether there is a processor on which the other half may run meanwhile.
    may_look: bool,
    /// The last news came so soon that a look would have seen them.
    soon: bool,
    /// Waits that are still to be without a look, and how many there were to be.
    rest: u32,
    rests: u32,
    began: Option<Instant>,
}

impl Patience {
    /// Asks how many processors there are, so it is to be made before a jail is entered.
    pub fn new() -> Self {
        let alone = std::thread::available_parallelism().is_ok_and(|count| count.get() == 1);
        Self::of(!alone)
    }

    fn of(may_look: bool) -> Self {
        Self {
            may_look,
            soon: false,
            rest: 0,
            rests: 0,
            began: None,
        }
    }

    /// Look until `seen`, if it is worth it. The wait that [`Patience::slept`] ends begins here.
    pub fn look(&mut self, seen: impl FnMut() -> bool) -> bool {
        if !self.may_look {
            return false;
        }
        let began = Instant::now();
        self.began = Some(began);
        if !self.soon {
            return false;
        }
        if self.rest > 0 {
            self.rest -= 1;
            return false;
        }
        let seen = look_until(began + MOST, seen);
        self.looked(seen, began.elapsed());
        seen
    }

    /// Decide for how many waits not to look again.
    fn looked(&mut self, seen: bool, took: Duration) {
        if took >= INTERRUPTED {
            self.rests = RESTS.1;
            self.rest = RESTS.1;
        } else if seen {
            self.rests /= 2;
        } else {
            self.rests = (2 * self.rests).clamp(RESTS.0, RESTS.1);
            self.rest = self.rests;
        }
    }

    /// A sleep is over: take note of how long the wait was.
    pub fn slept(&mut self) {
        if let Some(began) = self.began.take() {
            self.learn(began.elapsed());
        }
    }

    /// A wake-up by the kernel is part of what it took, hence the factor.
    fn learn(&mut self, took: Duration) {
        self.soon = took <= 2 * MOST;
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::new()
    }
}

fn look_until(end: Instant, mut seen: impl FnMut() -> bool) -> bool {
    while Instant::now() < end {
        for _ in 0..BATCH {
            if seen() {
                return true;
            }
            std::hint::spin_loop();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(took: Duration) -> Patience {
        let mut patience = Patience::of(true);
        patience.learn(took);
        patience
    }

    /// How many of `waits` in which nothing comes are begun with a look.
    fn looks_in_vain(patience: &mut Patience, waits: u32) -> u32 {
        (0..waits)
            .map(|_| {
                let mut looked = false;
                patience.look(|| {
                    looked = true;
                    false
                });
                u32::from(looked)
            })
            .sum()
    }

    #[test]
    fn nobody_looks_before_news_were_seen_to_come_soon() {
        assert!(!Patience::of(true).look(|| panic!("looked")));
    }

    #[test]
    fn who_saw_news_looks_again() {
        let mut patience = after(MOST);
        assert!(patience.look(|| true) && patience.look(|| true));
    }

    #[test]
    fn news_that_take_long_are_not_looked_for() {
        assert!(!after(Duration::from_secs(1)).look(|| panic!("looked")));
    }

    #[test]
    fn looks_in_vain_end_and_become_few() {
        let mut patience = after(MOST);
        assert_eq!(looks_in_vain(&mut patience, 1), 1);
        assert_eq!(looks_in_vain(&mut patience, RESTS.0), 0);
        assert!(looks_in_vain(&mut patience, 2 * RESTS.1) < 12);
    }

    #[test]
    fn an_interrupted_look_is_the_last_for_long_though_it_saw_news() {
        let mut patience = after(MOST);
        patience.looked(true, INTERRUPTED);
        assert_eq!(looks_in_vain(&mut patience, RESTS.1), 0);
        assert_eq!(looks_in_vain(&mut patience, 1), 1);
    }

    #[test]
    fn nobody_looks_where_there_is_one_processor() {
        let mut patience = Patience::of(false);
        patience.slept();
        assert!(!patience.look(|| panic!("looked")));
    }
}
