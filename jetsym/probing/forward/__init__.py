"""Forward passes: a model, hooked and run."""
