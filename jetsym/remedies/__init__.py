"""The least inductive bias that helps."""
