"""What the annotation page shows of scans: all slices in one picture, single ones as numbers."""
