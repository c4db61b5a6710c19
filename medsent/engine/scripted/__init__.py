"""An engine for tests of orchestration: a process that answers by a script, not by a model."""
