"""Commands on scans: segmented, measured, evaluated."""
