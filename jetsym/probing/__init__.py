"""From a model to a report of its symmetries; knows torch and plain callables, knows no domain."""
