"""The doctor's checks, a file per topic: pure functions from facts, and what gathers the facts."""
