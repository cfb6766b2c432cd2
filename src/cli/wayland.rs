//! Keeps a complaint away that concerns nobody: Mesa's Vulkan asks Wayland which GPU shows the desktop, and libwayland
//! says on stderr where there is no desktop session (a container, a cluster's node, cron) that `XDG_RUNTIME_DIR` is
//! not set. Where it names a place without a session, there is nothing to say.

use std::process::Command;

const VARIABLE: &str = "XDG_RUNTIME_DIR";
const NOWHERE: &str = "/nonexistent/no-session";

/// Called once, before any thread is started.
pub fn hush() {
    if cfg!(feature = "wgpu") && std::env::var_os(VARIABLE).is_none() {
        // SAFETY: no other thread is there yet that could read the environment.
        unsafe { std::env::set_var(VARIABLE, NOWHERE) };
    }
}

/// A command of the user finds the environment as the user set it.
pub fn restore(command: &mut Command) {
    if std::env::var_os(VARIABLE).is_some_and(|value| value == NOWHERE) {
        command.env_remove(VARIABLE);
    }
}
