"""Writing epochs: one transaction that replaces their rows and recomputes every source they touch."""
