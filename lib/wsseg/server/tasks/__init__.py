"""What MONAI Label runs: infer, scribbles, train, strategies."""
