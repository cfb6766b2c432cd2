//! Panics on any thread while a cohort trains.
//!
//! A GPU backend works on a thread of its own. When that thread panics, for want of memory say, it goes on with the next
//! task, and what was asked of it is never computed; the thread that trains is not told. So panics are noted here, and
//! training asks after every step and every read whether there was one.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// The first panic since [`listen`].
static FIRST: Mutex<Option<String>> = Mutex::new(None);
/// Whether panics are noted; otherwise they are only printed.
static LISTENING: AtomicBool = AtomicBool::new(false);
/// Whether there is a first panic: to be asked at every step.
static HEARD: AtomicBool = AtomicBool::new(false);

fn first() -> MutexGuard<'static, Option<String>> {
    FIRST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Panics are noted as long as it lives. Only the first is printed: a broken device has one for every operation.
#[derive(Debug)]
pub struct Listening(());

/// Begins to listen. One cohort trains at a time.
pub fn listen() -> Listening {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !LISTENING.load(Ordering::Relaxed) {
                return print(info);
            }
            let mut first = first();
            if first.is_none() {
                *first = Some(message_of(info.payload()));
                HEARD.store(true, Ordering::Release);
                drop(first);
                print(info);
            }
        }));
    });
    *first() = None;
    HEARD.store(false, Ordering::Release);
    LISTENING.store(true, Ordering::Relaxed);
    Listening(())
}

impl Listening {
    /// Why training panicked with `payload`: what was said first, and what followed from it.
    pub fn cause_of(&self, payload: &(dyn Any + Send)) -> String {
        let own = message_of(payload);
        match first().as_ref().filter(|first| **first != own) {
            Some(first) => format!("{first} (then: {own})"),
            None => own,
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENING.store(false, Ordering::Relaxed);
        HEARD.store(false, Ordering::Release);
    }
}

/// Passes a panic of another thread on to this one.
///
/// # Panics
/// When some thread has panicked since [`listen`]: what was computed since then is worth nothing.
pub fn pass_on() {
    if HEARD.load(Ordering::Acquire) {
        let message = first().clone().unwrap_or_default();
        std::panic::resume_unwind(Box::new(message));
    }
}

/// The message of a panic.
pub fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "a defect without a message".to_owned());
    // cubecl's errors end with the place where a backtrace would be.
    text.trim_end().trim_end_matches("No backtrace available").trim_end().to_owned()
}
