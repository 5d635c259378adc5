//! Rules of the house that are tests: see `tests/`. There is nothing else here.
