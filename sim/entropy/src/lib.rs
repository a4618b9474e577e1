//! Answers `getrandom` from a seed, on threads that ask for it.
//!
//! Chitchat draws from the operating system: its generators are seeded from there, and so are the keys
//! of its hash sets, whose order decides whom it gossips with. It takes no generator from its caller, so a run of
//! it can only be replayed where libc's `getrandom` is replaced. A program that links this crate gets
//! its own `getrandom`, which the dynamic linker finds before libc's: on a thread that called [`seed`]
//! it answers from the seed, on every other from the kernel.
//!
//! For the simulator only: nothing that protects anything may be linked with it. It works with glibc
//! linked dynamically, which a test of this crate checks.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

thread_local! {
    static STREAM: RefCell<Option<ChaCha8Rng>> = const { RefCell::new(None) };
}

/// Lets everything that this thread draws from the operating system from now on follow from `seed`. To
/// be called before anything else on a new thread: a hash map draws its keys once for each thread.
pub fn seed(seed: u64) {
    STREAM.with_borrow_mut(|stream| *stream = Some(ChaCha8Rng::seed_from_u64(seed)));
}

/// Replaces the function of libc, whose contract it keeps: fills `buffer`, of `length` bytes, and returns
/// how many it filled, or -1.
///
/// # Safety
/// `buffer` must be valid for writes of `length` bytes.
#[expect(
    unsafe_code,
    reason = "a function of libc can only be replaced by one with its name and pointers; chitchat and std \
              offer no other way to seed what they draw"
)]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    if buffer.is_null() || length == 0 {
        return 0;
    }
    // SAFETY: the caller's promise, as for libc's function; the buffer may be uninitialised, so it is
    // zeroed before a slice of it exists.
    let buffer = unsafe {
        buffer.write_bytes(0, length);
        std::slice::from_raw_parts_mut(buffer, length)
    };
    let is_filled = STREAM
        .try_with(|stream| fill(stream, buffer))
        .unwrap_or_else(|_| fill_from_kernel(buffer));
    if is_filled {
        isize::try_from(length).unwrap_or(isize::MAX)
    } else {
        -1
    }
}

fn fill(stream: &RefCell<Option<ChaCha8Rng>>, buffer: &mut [u8]) -> bool {
    match stream.try_borrow_mut().as_deref_mut() {
        Ok(Some(stream)) => {
            stream.fill_bytes(buffer);
            true
        }
        Ok(None) | Err(_) => fill_from_kernel(buffer),
    }
}

/// By the device, since libc's own function can no longer be reached.
fn fill_from_kernel(buffer: &mut [u8]) -> bool {
    File::open("/dev/urandom").is_ok_and(|mut device| device.read_exact(buffer).is_ok())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    /// The order of a hash set on a new thread.
    fn order(seed: Option<u64>) -> Vec<u32> {
        let on_thread = move || {
            if let Some(seed) = seed {
                super::seed(seed);
            }
            let set: HashSet<u32> = (0..100).collect();
            set.into_iter().collect::<Vec<u32>>()
        };
        thread::spawn(on_thread).join().expect("no panic")
    }

    #[test]
    fn hash_sets_of_seeded_threads_have_one_order() {
        assert_eq!(order(Some(1)), order(Some(1)));
        assert_ne!(order(Some(1)), order(Some(2)));
    }

    #[test]
    fn other_threads_draw_from_the_kernel() {
        assert_ne!(order(None), order(None));
    }
}
