"""A recording through the policy again: what it saw, what it would have done."""
