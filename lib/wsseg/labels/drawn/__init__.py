"""What people draw on slices: strokes, points, boxes and corrections, one label each."""
