"""Everything that knows MONAI Label."""
