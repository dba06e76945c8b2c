//! Wire library (under construction).
