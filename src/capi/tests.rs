//! What only a test can provoke: a panic at the boundary.
