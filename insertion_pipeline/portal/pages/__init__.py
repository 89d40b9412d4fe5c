"""The pages, one module per person at the other end. Each asks for one thing, and offers one main action."""
