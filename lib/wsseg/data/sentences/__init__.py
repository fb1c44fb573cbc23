"""What sentences of reports say of classes, and what that means for slices."""
