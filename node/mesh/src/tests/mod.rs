//! Whole links between real endpoints on loopback, in real time.

mod calls;
mod cancels;
mod certificates;
mod hostile;
mod inside;
mod linking;
mod silence;
mod support;
