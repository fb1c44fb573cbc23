"""Networks that segment nothing themselves: others are built on them, or begin with their weights."""
