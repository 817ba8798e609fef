//! Numbers that must not drift, and conventions that sources disagree about.
