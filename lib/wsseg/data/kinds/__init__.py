"""What people give as labels: one object a kind, and one registry of them."""
